"""A deployment out of a release's files and nothing else: in an empty folder, with none of Rust's tools in the path."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tarfile

import aws

# What DEPLOYING.md asks for, and what the output FirstToken starts.
TOOLS = ["aws", "bash", "python3", "sam"]
RUST = ["cargo", "cargo-lambda", "rustc", "rustup", "cc", "zig"]


class Release:
    """The release's files for this processor, packaged while other parts run."""

    def __init__(self, built, folder):
        self.folder = folder
        command = [".ci/release", str(folder / "files"), "functions", "--from", str(built), "x86_64"]
        self.packaging = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def unpacked(self):
        """The size of the archive in bytes, and the folder in which it lies unpacked."""
        said, _ = self.packaging.communicate(timeout=240)
        archives = list((self.folder / "files").glob("*-x86_64-aws.tar.gz"))
        if self.packaging.returncode or len(archives) != 1:
            raise aws.Failed(f".ci/release ended with {self.packaging.returncode}: {said}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(self.folder / "unpacked")
        return archives[0].stat().st_size, self.folder / "unpacked" / archives[0].name.removesuffix(".tar.gz")

    def close(self):
        """Ends the packaging, if it goes on."""
        self.packaging.kill()
        self.packaging.wait()

    def environment(self):
        """Credentials and a path of just these tools. Nothing else of this process's is in it."""
        tools = self.folder / "tools"
        tools.mkdir()
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        for tool in TOOLS:
            (tools / tool).symlink_to(shutil.which(tool, path=path))
        there = [tool for tool in RUST if shutil.which(tool, path=str(tools))]
        if there:
            raise aws.Failed(f"Rust's tools are in the path: {there}")
        kept = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE",
                "SSL_CERT_FILE", "SAM_CLI_TELEMETRY")
        return {name: os.environ[name] for name in kept} | {"PATH": str(tools), "HOME": str(self.folder)}

    def deploy(self, stack, parameters):
        """Does what the release's README says, with these parameters; the environment it was done in, and what was deployed."""
        size, unpacked = self.unpacked()
        environment = self.environment()
        lines = [line.strip() for line in (unpacked / "README.md").read_text().splitlines() if line.startswith("    sam deploy ")]
        if len(lines) != 1:
            raise aws.Failed(f"the release's README has another `sam deploy`: {lines}")
        command = shlex.split(lines[0])
        command[command.index("--stack-name") + 1] = stack
        command += ["--parameter-overrides", *[f"{name}={value}" for name, value in parameters.items()]]
        done = subprocess.run(command, cwd=unpacked, env=environment, executable=shutil.which("sam", path=environment["PATH"]),
                              capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise aws.Failed(f"`{' '.join(command)}` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}")
        files = [path for path in unpacked.rglob("*") if path.is_file()]
        return environment, f"{size:,} bytes, {len(files)} files, {sum(path.suffix == '.zip' for path in files)} functions"
