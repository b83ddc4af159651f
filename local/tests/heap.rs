//! The runner's heap grows by small pages.
//!
//! Where it asked the kernel for huge ones, each 2 MB that it grew by stopped a thread until they were cleared: on a virtual
//! machine for 6.5 ms, once for every thirteen deliveries that waited for a receiver that hangs (docs/BENCHMARKS.md). What others
//! were doing on that thread waited as well.

#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

struct Runner(Child);

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_part_of_the_heap_asks_for_huge_pages() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data.path()).stdout(Stdio::piped());
    let mut runner = Runner(command.spawn().unwrap());
    let mut lines = BufReader::new(runner.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Postrider listens on")), "it does not start");
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps", runner.0.id())).unwrap();
    let flags: Vec<&str> = maps.lines().filter(|line| line.starts_with("VmFlags:")).collect();
    // An area that was asked for with MADV_HUGEPAGE has the flag `hg`.
    assert!(flags.len() > 10, "{maps}");
    assert!(flags.iter().all(|flags| !flags.split(' ').any(|flag| flag == "hg")), "{maps}");
}
