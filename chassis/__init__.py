"""What every Mercato service needs and none writes twice: the microservice chassis."""
