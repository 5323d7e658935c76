//! A process that was started here, and what the system says of it.
//!
//! Invariant: it ends with the value that holds it, and is ended by the kernel should this process be
//! killed, where there is `setpriv`.
//! Not here: which processes there are (`service`, `cluster`).

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end after its signal, before it is killed.
const LONGEST_END: Duration = Duration::from_secs(30);

/// Clock ticks per second in `/proc`: 100 on every Linux that runs on common hardware (`man 5 proc`).
const TICKS: f64 = 100.0;

/// A process; dropped, it is asked to end and waited for.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ends_by: Signal,
}

impl Process {
    /// Starts a command; `ends_by` is the signal that makes it end in order.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(command: &mut Command, ends_by: Signal) -> Result<Self> {
        let child =
            command.spawn().with_context(|| format!("{} cannot be run", command.get_program().display()))?;
        Ok(Self { child, ends_by })
    }

    /// Returns its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.ending().is_some()
    }

    /// Returns how it ended, if it has.
    pub fn ending(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it by another signal than its own.
    pub fn end_by(mut self, signal: Signal) {
        self.ends_by = signal;
    }

    /// Ends it at once, without its having a say.
    pub fn kill(mut self) {
        // One that has ended already cannot be killed, and need not be.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn end(&mut self) {
        if self.has_ended() {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let told = pid.is_some_and(|pid| kill_process(pid, self.ends_by).is_ok());
        let began = Instant::now();
        while told && began.elapsed() < LONGEST_END {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nothing more can be done about a process that survives this.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns a command whose process the kernel ends with this one, where there is such a thing.
pub fn bound_command(program: &std::path::Path, end: &str) -> Command {
    match in_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", end]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Returns where a program is in `PATH`.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now, in MB of 10⁶ bytes.
    pub now: f64,
    /// At its highest, in MB.
    pub peak: f64,
}

/// Returns the resident memory of a process.
///
/// # Errors
/// When the system does not say.
pub fn memory(process: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .context("the memory of the service cannot be read: is this Linux?")?;
    let kib = |field: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim_end_matches("kB").trim().parse().ok()
    };
    let (now, peak) = kib("VmRSS:").zip(kib("VmHWM:")).context("the system does not say how much memory")?;
    Ok(Memory { now: now * 1024.0 / 1e6, peak: peak * 1024.0 / 1e6 })
}

/// Returns the processor time, in seconds, that a process and its present children have used.
pub fn cpu_seconds(process: u32) -> f64 {
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = folders.filter_map(|folder| std::fs::read_to_string(folder.path().join("stat")).ok());
    stats.filter_map(|stat| ticks_if_of(&stat, process)).sum::<f64>() / TICKS
}

/// Returns the processor time, in seconds, that this process has used, without its children.
pub fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    ticks_if_of(&stat, std::process::id()).unwrap_or_default() / TICKS
}

/// Returns the ticks of a line of `/proc/…/stat`, if it is of this process or a child of it.
fn ticks_if_of(stat: &str, process: u32) -> Option<f64> {
    let (id, rest) = stat.split_once(" (")?;
    // A program's name may hold anything, parentheses too.
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let parent = fields.get(1)?;
    let wanted = process.to_string();
    if id != wanted && **parent != wanted {
        return None;
    }
    let (user, system): (f64, f64) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::ticks_if_of;

    #[test]
    fn processor_time_counts_a_process_and_its_children_only() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 1 1 1";
        for (process, ticks) in [(42, Some(200.0)), (7, Some(200.0)), (8, None)] {
            assert_eq!(ticks_if_of(line, process), ticks, "{process}");
        }
    }
}
