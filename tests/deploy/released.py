"""A deployment out of a release's files and nothing else: in an empty folder, with none of Rust's tools in the path."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tarfile
import urllib.parse

import aws

# What DEPLOYING.md asks for: `aws`, `bash`, `python3`, `sam`. Bash's scripts have what every Unix has.
TOOLS = ["aws", "bash", "python3", "sam", "basename", "dirname", "env", "grep", "mktemp", "rm", "sed"]
# With dots, the link names it in its path, where the emulator looks for it.
BUCKET = "releases.example.test"
RUST = ["cargo", "cargo-lambda", "rustc", "rustup", "cc", "zig"]


class Release:
    """The release's files for this processor, packaged while other parts run."""

    def __init__(self, built, folder):
        self.folder = folder
        command = [".ci/release", str(folder / "files"), "functions", "--from", str(built), "x86_64"]
        self.packaging = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def unpack(self):
        """Waits for the archive, and lays it out beside the tools; says how large it is."""
        said, _ = self.packaging.communicate(timeout=240)
        archives = list((self.folder / "files").glob("*-x86_64-aws.tar.gz"))
        if self.packaging.returncode or len(archives) != 1:
            raise aws.Failed(f".ci/release ended with {self.packaging.returncode}: {said}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(self.folder / "unpacked")
        self.unpacked = self.folder / "unpacked" / archives[0].name.removesuffix(".tar.gz")
        self.environment = self.tools()
        files = [path for path in self.unpacked.rglob("*") if path.is_file()]
        return f"{archives[0].stat().st_size:,} bytes, {len(files)} files, {sum(path.suffix == '.zip' for path in files)} functions"

    def close(self):
        """Ends the packaging, if it goes on."""
        self.packaging.kill()
        self.packaging.wait()

    def tools(self):
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

    def run(self, *command):
        """What a command prints, in the unpacked folder and with its environment."""
        program = shutil.which(command[0], path=self.environment["PATH"]) or self.unpacked / command[0]
        done = subprocess.run(command, executable=program, cwd=self.unpacked, env=self.environment, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise aws.Failed(f"`{' '.join(command)}` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}")
        return done.stdout

    def deploy(self, stack, parameters):
        """Does what the release's README says, with these parameters."""
        lines = [line.strip() for line in (self.unpacked / "README.md").read_text().splitlines() if line.startswith("    sam deploy ")]
        if len(lines) != 1:
            raise aws.Failed(f"the release's README has another `sam deploy`: {lines}")
        command = shlex.split(lines[0])
        command[command.index("--stack-name") + 1] = stack
        self.run(*command, "--parameter-overrides", *[f"{name}={value}" for name, value in parameters.items()])

    def launch(self, emulator, stack, parameters):
        """Publishes it by infra/launch, and creates a stack of what the link says, as the console would."""
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        link = urllib.parse.urlsplit(self.run("infra/launch", BUCKET, aws.REGION, stack).strip())
        asked = dict(urllib.parse.parse_qsl(link.fragment.partition("?")[2]))
        if link.hostname != f"{aws.REGION}.console.aws.amazon.com" or set(asked) != {"templateURL", "stackName"}:
            raise aws.Failed(f"infra/launch prints another link: {link.geturl()}")
        cloudformation = emulator.client("cloudformation")
        identifier = cloudformation.create_stack(
            StackName=asked["stackName"], TemplateURL=asked["templateURL"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )["StackId"]

        def created():
            described = cloudformation.describe_stacks(StackName=identifier)["Stacks"][0]
            if described["StackStatus"] not in ("CREATE_IN_PROGRESS", "CREATE_COMPLETE"):
                raise aws.Failed(f"{described['StackStatus']}: {described.get('StackStatusReason')}")
            return described["StackStatus"] == "CREATE_COMPLETE"

        aws.until(created, "the link's stack is created")
        return link.geturl()
