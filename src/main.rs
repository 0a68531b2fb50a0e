//! The program: hands the command line on and turns the result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    clearpixel::cli::run()
}
