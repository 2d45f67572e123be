//! The program: see `vansire --help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vansire::app::main()
}
