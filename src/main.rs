//! The binary: an allocator and the command line.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Reads FAILPOINTS from the environment; lives as long as the process.
    #[cfg(feature = "failpoints")]
    let _failpoints = hexafn_actors::fail::FailScenario::setup();
    hexafn::cli::main()
}
