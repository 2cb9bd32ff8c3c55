"""Write `generated/` and the image that buf reads from `protos/`; run by `make generate`.

Imports come from descriptors that installed packages carry (googleapis-common-protos, protovalidate), so nothing
is fetched and nothing is vendored.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = (
    "google.protobuf.descriptor", "google.protobuf.duration", "google.protobuf.empty", "google.protobuf.field_mask",
    "google.protobuf.timestamp", "google.protobuf.any", "google.protobuf.wrappers", "google.rpc.status",
    "google.api.http", "google.api.annotations", "google.api.field_behavior", "google.api.resource",
    "google.type.money", "google.type.postal_address",
)  # fmt: skip


def imports() -> FileDescriptorSet:
    """Return the files that ours import, dependencies first."""
    from protovalidate._gen.buf.validate import validate_pb

    files = FileDescriptorSet()
    for name in IMPORTED:
        importlib.import_module(f"{name}_pb2").DESCRIPTOR.CopyToProto(files.file.add())
    files.file.append(FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary()))
    return files


def protoc(*arguments: str) -> None:
    """Run the pinned protoc on our protos with the imports at hand."""
    build = ROOT / ".build"
    build.mkdir(exist_ok=True)
    (build / "imports.binpb").write_bytes(imports().SerializeToString(deterministic=True))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={build / 'imports.binpb'}"]
    subprocess.run([*command, f"-I{ROOT / 'protos'}", *arguments], check=True, cwd=ROOT)


def image(target: Path) -> None:
    """Write the descriptors of all our protos with their comments: for buf, and for the gateway to serve."""
    protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={target}", *sources())


def sources() -> list[str]:
    """Return our proto files as paths below `protos/`."""
    return sorted(path.relative_to(ROOT / "protos").as_posix() for path in (ROOT / "protos").rglob("*.proto"))


def generate(target: Path) -> None:
    """Write modules, gRPC stubs and their types for all our protos into `target`, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    bin_folder = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={bin_folder / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    protoc(*plugins, f"--python_out={target}", f"--mypy_out=quiet:{target}", *sources(), "buf/validate/validate.proto")
    services = [path for path in sources() if "\nservice " in (ROOT / "protos" / path).read_text()]
    protoc(*plugins, f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet,only_async:{target}", *services)
    for folder in {path.parent for path in target.rglob("*.py")}:
        (folder / "py.typed").touch()
    image(target / "mercato" / "descriptors.binpb")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "generated")
    image(ROOT / ".build" / "protos.binpb")
