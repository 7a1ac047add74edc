//! The share of a CPU that Lambda gives to a function by its memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;
use crate::process::cpu;

/// The memory that comes with one whole CPU, MB (AWS's documentation of function memory).
pub const WHOLE_CPU_MB: u32 = 1_769;
/// The period over which a share is granted.
const PERIOD: Duration = Duration::from_millis(20);
/// How closely the duty cycle watches.
const WATCH: Duration = Duration::from_micros(200);

/// How this machine can limit a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// A cgroup (version 2) with `cpu.max`.
    CgroupV2,
    /// A cgroup (version 1) with `cpu.cfs_quota_us`.
    CgroupV1,
    /// The process is stopped when it has used its share of a period.
    DutyCycle,
}

/// A limited process; it is free again when this is dropped.
pub enum Limited {
    /// By a cgroup, to be removed.
    Cgroup(PathBuf),
    /// By a thread that stops and continues it.
    DutyCycle {
        /// Tells the thread to end.
        over: Arc<AtomicBool>,
        /// The thread.
        thread: Option<JoinHandle<()>>,
    },
}

/// The share of a CPU that goes with a function's memory.
pub fn share(memory_mb: u32) -> f64 {
    f64::from(memory_mb) / f64::from(WHOLE_CPU_MB)
}

fn quota_us(share: f64) -> u64 {
    (PERIOD.as_secs_f64() * share * 1e6).round() as u64
}

/// A new folder for each limited process.
fn folder(root: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(root).join(format!("switchboard-bench-{}-{n}", std::process::id()))
}

impl Limiter {
    /// The best that this machine allows: tried, not guessed.
    pub fn detect() -> Self {
        [Self::CgroupV2, Self::CgroupV1]
            .into_iter()
            .find(|limiter| limiter.cgroup(0.5).and_then(|path| Ok(fs::remove_dir(path)?)).is_ok())
            .unwrap_or(Self::DutyCycle)
    }

    /// In words, for the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup v2, cpu.max, 20 ms period",
            Self::CgroupV1 => "cgroup v1, cpu.cfs_quota_us, 20 ms period",
            Self::DutyCycle => "duty cycle by SIGSTOP and SIGCONT, 20 ms period",
        }
    }

    /// Makes a cgroup with a quota.
    fn cgroup(self, share: f64) -> Result<PathBuf, Failure> {
        let quota = quota_us(share);
        let period = PERIOD.as_micros();
        let (path, files) = match self {
            Self::CgroupV2 => {
                (folder("/sys/fs/cgroup"), vec![("cpu.max", format!("{quota} {period}"))])
            }
            _ => (
                folder("/sys/fs/cgroup/cpu"),
                vec![
                    ("cpu.cfs_period_us", period.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
            ),
        };
        fs::create_dir(&path)?;
        for (file, value) in files {
            // Without the CPU controller the file is not there, and must not be made.
            let written = fs::OpenOptions::new()
                .write(true)
                .open(path.join(file))
                .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()));
            if let Err(error) = written {
                let _ = fs::remove_dir(&path);
                return Err(error.into());
            }
        }
        Ok(path)
    }

    /// Limits a running process to a share of one CPU from now on.
    pub fn limit(self, pid: Pid, share: f64) -> Result<Limited, Failure> {
        if self == Self::DutyCycle {
            return Ok(duty_cycle(pid, share));
        }
        let path = self.cgroup(share)?;
        let limited = Limited::Cgroup(path.clone());
        fs::write(path.join("cgroup.procs"), pid.to_string())?;
        Ok(limited)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        match self {
            Self::Cgroup(path) => {
                // The kernel needs a moment after the last process is gone.
                for _ in 0..50 {
                    if fs::remove_dir(&*path).is_ok() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            Self::DutyCycle { over, thread } => {
                over.store(true, Ordering::Relaxed);
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}

/// Grants a process its share of every period as the kernel's quota does: what it uses counts, not
/// what passes while it waits.
fn duty_cycle(pid: Pid, share: f64) -> Limited {
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    let budget = PERIOD.mul_f64(share);
    let thread = std::thread::spawn(move || {
        while !seen.load(Ordering::Relaxed) {
            let end = Instant::now() + PERIOD;
            let Ok(before) = cpu(pid) else { return };
            if kill(pid, Signal::SIGCONT).is_err() {
                return;
            }
            while Instant::now() < end && !seen.load(Ordering::Relaxed) {
                let Ok(now) = cpu(pid) else { return };
                if now.saturating_sub(before) < budget {
                    std::thread::sleep(WATCH);
                    continue;
                }
                let _ = kill(pid, Signal::SIGSTOP);
                std::thread::sleep(end.saturating_duration_since(Instant::now()));
            }
        }
        let _ = kill(pid, Signal::SIGCONT);
    });
    Limited::DutyCycle { over, thread: Some(thread) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The share of a CPU that a busy process gets.
    fn granted(limiter: Limiter, share: f64) -> f64 {
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let limited = limiter.limit(pid, share).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let (before, started) = (cpu(pid).unwrap(), Instant::now());
        std::thread::sleep(Duration::from_millis(800));
        let used = cpu(pid).unwrap() - before;
        let granted = used.as_secs_f64() / started.elapsed().as_secs_f64();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(limited);
        granted
    }

    #[test]
    fn a_busy_process_gets_its_share_and_little_more() {
        for limiter in [Limiter::detect(), Limiter::DutyCycle] {
            let got = granted(limiter, 0.2);
            assert!((0.05..0.35).contains(&got), "{}: {got}", limiter.name());
        }
    }

    #[test]
    fn shares_go_with_memory() {
        assert_eq!(share(1_769), 1.0);
        assert_eq!(quota_us(share(128)), 1_447);
    }
}
