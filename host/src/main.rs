//! The program `sandrack`. Also a worker, when it is started as one.

// Aborts when realtime code (the engine's callback, a worker's audio thread) allocates or frees.
#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

fn main() -> std::process::ExitCode {
    sandrack_sandbox::worker::run_if_worker();
    sandrack_host::cli::main()
}
