//! The one binary, `connectify`: arguments in, an exit status out.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
