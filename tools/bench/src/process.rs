//! A program as a process: started with a function's environment, watched, ended.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::Failure;
use crate::server::lock;

/// So many of its last lines are kept, to be shown when it fails.
const KEPT: usize = 12;

/// A running program.
pub struct Process {
    /// Just before it was started.
    pub started_at: Instant,
    /// Its number.
    pub pid: Pid,
    child: Child,
    said: Arc<Mutex<Said>>,
    readers: Vec<JoinHandle<()>>,
}

/// What a program printed.
#[derive(Default)]
struct Said {
    last: VecDeque<String>,
    lines: u64,
    bytes: u64,
}

impl Process {
    /// Starts a program with nothing in its environment but what is given and `PATH`. What it
    /// prints is read, as Lambda does.
    pub fn start(
        command: &[String],
        folder: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Failure::new("an empty command"))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut starting = Command::new(program);
        starting
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", path)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let started_at = Instant::now();
        let mut child =
            starting.spawn().map_err(|error| Failure::new(format!("{program}: {error}")))?;
        let said: Arc<Mutex<Said>> = Arc::default();
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            readers.push(tokio::spawn(read(output, said.clone())));
        }
        if let Some(output) = child.stderr.take() {
            readers.push(tokio::spawn(read(output, said.clone())));
        }
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.ok_or_else(|| Failure::new("it ended at once"))?;
        Ok(Self { started_at, pid: Pid::from_raw(pid), child, said, readers })
    }

    /// The CPU time of all its threads so far, in user and in system.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu(self.pid)
    }

    /// The most memory that it ever had resident, bytes.
    pub fn peak_memory(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| Failure::new("no VmHWM in its status"))
    }

    /// Stops it as Lambda does between invocations.
    pub fn freeze(&self) -> Result<(), Failure> {
        Ok(kill(self.pid, Signal::SIGSTOP)?)
    }

    /// Lets it run again.
    pub fn thaw(&self) -> Result<(), Failure> {
        Ok(kill(self.pid, Signal::SIGCONT)?)
    }

    /// Ends it and waits until it is gone.
    pub async fn end(mut self) {
        let _ = self.child.kill().await;
    }

    /// Ends it; says how many lines it printed, and of how many bytes in all.
    pub async fn end_with_lines(mut self) -> (u64, u64) {
        let _ = self.child.kill().await;
        for reader in self.readers {
            let _ = reader.await;
        }
        let said = lock(&self.said);
        (said.lines, said.bytes)
    }

    /// Asks it to end and waits: for a program that sums up at its end.
    pub async fn finish(mut self) -> Result<(), Failure> {
        kill(self.pid, Signal::SIGTERM)?;
        tokio::time::timeout(Duration::from_secs(60), self.child.wait())
            .await
            .map_err(|_| Failure::new("it does not end"))??;
        Ok(())
    }

    /// The last lines that it printed.
    pub fn last_words(&self) -> Vec<String> {
        lock(&self.said).last.iter().cloned().collect()
    }
}

/// The CPU time of a process.
pub fn cpu(pid: Pid) -> Result<Duration, Failure> {
    Ok(Duration::from(ClockId::pid_cpu_clock_id(pid)?.now()?))
}

async fn read(output: impl AsyncRead + Unpin, said: Arc<Mutex<Said>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut said = lock(&said);
        said.lines += 1;
        said.bytes += line.len() as u64;
        if said.last.len() == KEPT {
            said.last.pop_front();
        }
        said.last.push_back(line);
    }
}
