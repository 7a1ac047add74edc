//! A program as a process: its output, CPU time and memory.

use std::collections::BTreeMap;
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

use crate::{Failure, lock};

/// A running process. It is killed when this is dropped.
pub struct Process {
    /// Just before it was started.
    pub started_at: Instant,
    pid: Pid,
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    readers: [JoinHandle<()>; 2],
}

impl Process {
    /// Starts a program with this environment and `PATH`.
    pub fn start(
        command: &[String],
        folder: &Path,
        environment: &BTreeMap<&str, String>,
    ) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().ok_or("an empty command")?;
        let started_at = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let output: Arc<Mutex<Vec<String>>> = Arc::default();
        let stdout = child.stdout.take().ok_or("no output")?;
        let stderr = child.stderr.take().ok_or("no error output")?;
        let readers = [
            tokio::spawn(read(stdout, output.clone())),
            tokio::spawn(read(stderr, output.clone())),
        ];
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).ok_or("it ended at once")?;
        Ok(Self { started_at, pid: Pid::from_raw(pid), child, output, readers })
    }

    /// The CPU time of all its threads so far, user and system.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        Ok(ClockId::pid_cpu_clock_id(self.pid)?.now()?.into())
    }

    /// The highest resident memory so far, bytes.
    pub fn peak_memory(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok(kib.ok_or("no VmHWM in its status")? * 1_024)
    }

    /// Kills it; returns the lines that it printed.
    pub async fn kill(mut self) -> Vec<String> {
        let _ = self.child.kill().await;
        for reader in self.readers {
            let _ = reader.await;
        }
        std::mem::take(&mut lock(&self.output))
    }

    /// Asks it to end, and waits for that.
    pub async fn terminate(mut self) -> Result<(), Failure> {
        kill(self.pid, Signal::SIGTERM)?;
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await??;
        Ok(())
    }

    /// A failure of this program, with the last lines that it printed.
    pub fn failure(&self, failure: &Failure) -> Failure {
        let output = lock(&self.output);
        let last = output.iter().skip(output.len().saturating_sub(8));
        let last: String = last.map(|line| format!("\n    | {line}")).collect();
        format!("{failure}{last}").into()
    }
}

async fn read(stream: impl AsyncRead + Unpin, output: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        lock(&output).push(line);
    }
}
