//! `ergometer run`: measures any program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use clap::Args;
use ergometer::{Error, Run};

use crate::{Sources, complain};

/// Measures the machine's energy while a command runs.
///
/// The command keeps its standard input, output and error; the report goes to standard error when it has ended, and the
/// log into a directory of its own. What is measured is the whole machine, as far as its sensors see it, with whatever
/// else runs on it.
///
/// The exit status is the command's, 128 + n if signal n ended it, 125 if the measuring failed, 126 if the command
/// cannot be executed, and 127 if it is not found. Ctrl-C goes to the command, and its energy up to there is reported.
#[derive(Args, Debug)]
pub(crate) struct Measure {
    /// Where run directories are made.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// The run's name; the command's if it has none.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    sources: Sources,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The meter failed.
const UNMEASURED: u8 = 125;
/// The command is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

impl Measure {
    pub(crate) fn run(&self, err: &mut dyn Write) -> u8 {
        let (run, mut waiter) = match self.start() {
            Ok(started) => started,
            Err(error) => {
                complain(err, error);
                return UNMEASURED;
            }
        };
        let (program, arguments) = (&self.command[0], &self.command[1..]);
        let ended = Command::new(program).args(arguments).spawn().map(|child| waiter.wait(child));
        match ended {
            Ok(Ok(status)) => finish(run, status_of(status), err),
            Ok(Err(error)) => {
                complain(err, format_args!("lost sight of the command: {error}"));
                finish(run, 0, err).max(UNMEASURED)
            }
            Err(error) => {
                complain(err, format_args!("cannot run `{}`: {error}", program.to_string_lossy()));
                discard(run);
                match error.kind() {
                    io::ErrorKind::NotFound => NOT_FOUND,
                    io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => UNMEASURED,
                    _ => NOT_EXECUTABLE,
                }
            }
        }
    }

    fn start(&self) -> Result<(Run, Waiter), Error> {
        // What would only show at the end is asked now: that the log has a place.
        std::fs::create_dir_all(&self.out).map_err(|cause| {
            Error::file("create", &self.out, cause)
                .cure("give a directory that can be written: `--out DIR`")
        })?;
        let meter = self.sources.meter().log_directory(&self.out).build()?;
        let waiter = Waiter::new().map_err(|cause| {
            Error::unsupported(format!("cannot watch for signals: {cause}")).caused_by(cause)
        })?;
        let command: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        let program = Path::new(&self.command[0]).file_name().unwrap_or(&self.command[0]);
        let name = self.name.clone().unwrap_or_else(|| program.to_string_lossy().into_owned());
        Ok((meter.run(name).note("command", command.join(" ")).start()?, waiter))
    }
}

/// Ends the run and reports it; gives the exit status.
fn finish(run: Run, status: u8, err: &mut dyn Write) -> u8 {
    match run.finish() {
        Ok(summary) => {
            let _ = writeln!(err, "{summary}");
            status
        }
        Err(error) => {
            complain(err, error);
            if status == 0 { UNMEASURED } else { status }
        }
    }
}

/// Ends a run in which nothing ran, and removes what was logged of it.
fn discard(run: Run) {
    let directory = run.path().to_owned();
    drop(run.finish());
    // Not worth another message: what is left says that nothing happened.
    let _ = std::fs::remove_dir_all(directory);
}

#[cfg(unix)]
fn status_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(UNMEASURED)
}

#[cfg(not(unix))]
fn status_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(UNMEASURED)
}

/// Waits for a child, and outlives the signals that are meant for it.
///
/// A terminal sends Ctrl-C to the whole group of processes, so the child has it already; SIGTERM and SIGHUP, which may
/// come to this process alone, are passed on. Child and signals are waited for in one place, so no signal can reach a
/// process that has the child's number after it.
#[cfg(unix)]
struct Waiter(signal_hook::iterator::Signals);

#[cfg(unix)]
impl Waiter {
    fn new() -> io::Result<Waiter> {
        use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        // What `nohup` or the shell's `&` made this process ignore is left alone, so that the child ignores it too.
        let ignored = ignored_signals();
        let meant = [SIGINT, SIGQUIT, SIGTERM, SIGHUP]
            .into_iter()
            .filter(|signal| ignored >> (signal - 1) & 1 == 0);
        signal_hook::iterator::Signals::new(meant.chain([SIGCHLD])).map(Waiter)
    }

    fn wait(&mut self, mut child: Child) -> io::Result<ExitStatus> {
        use rustix::process::{Pid, Signal, kill_process};
        use signal_hook::consts::{SIGHUP, SIGTERM};
        for signal in self.0.forever() {
            let passed_on = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => match child.try_wait()? {
                    Some(status) => return Ok(status),
                    None => continue,
                },
            };
            // A child of another user may not be sent signals; then it is waited for.
            let _ = kill_process(Pid::from_child(&child), passed_on);
        }
        child.wait()
    }
}

/// The signals that this process was started to ignore, number n as bit n − 1; none where the system does not tell.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(not(unix))]
struct Waiter;

#[cfg(not(unix))]
impl Waiter {
    fn new() -> io::Result<Waiter> {
        Ok(Waiter)
    }

    fn wait(&mut self, mut child: Child) -> io::Result<ExitStatus> {
        child.wait()
    }
}
