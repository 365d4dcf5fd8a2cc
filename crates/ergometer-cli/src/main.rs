//! The `ergometer` command.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(ergometer_cli::run(std::env::args_os(), &mut io::stdout(), &mut io::stderr()))
}
