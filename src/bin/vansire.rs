//! The program: see `vansire --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vansire::app::main()
}
