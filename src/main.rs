//! The binary: an allocator and the command line.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Reads FAILPOINTS from the environment; lives as long as the process.
    #[cfg(feature = "failpoints")]
    let _failpoints = hexafn_actors::fail::FailScenario::setup();
    // RocksDB is built with them (scripts/lib.sh); without them it would end with an illegal instruction, some day.
    #[cfg(target_arch = "x86_64")]
    if !(std::is_x86_feature_detected!("sse4.2") && std::is_x86_feature_detected!("pclmulqdq")) {
        use std::io::Write;
        let told = writeln!(
            std::io::stderr(),
            "hexafn: this processor has no SSE4.2 or no PCLMULQDQ, which hexaFn's storage engine needs; any x86-64 of 2010 or newer has both"
        );
        drop(told);
        return std::process::ExitCode::FAILURE;
    }
    hexafn::cli::main()
}
