"""The mesh: which instances there are, and how calls are spread over them."""
