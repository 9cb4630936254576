//! Flush-to-zero: denormal floats cost a hundred times a normal one and carry nothing audible.
//!
//! # Safety
//! `unsafe` here writes the SSE control register (or FPCR), which changes how this thread rounds
//! denormals and nothing else; [`FlushToZero`] puts back what it found and cannot leave its thread.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// Denormal results and operands are zero on this thread while the value lives.
pub struct FlushToZero {
    before: u64,
    // The register belongs to the thread: not Send, not Sync.
    _thread: PhantomData<*const ()>,
}

impl FlushToZero {
    /// Sets flush-to-zero (and denormals-are-zero where the processor has it).
    #[inline]
    pub fn new() -> Self {
        let before = read();
        write(before | BITS);
        Self { before, _thread: PhantomData }
    }
}

impl Default for FlushToZero {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FlushToZero {
    fn drop(&mut self) {
        write(self.before);
    }
}

/// Sets flush-to-zero again: for use after code that may have changed it, a plugin's for one.
#[inline]
pub fn set_flush_to_zero() {
    let now = read();
    if now & BITS != BITS {
        write(now | BITS);
    }
}

#[cfg(target_arch = "x86_64")]
const BITS: u64 = (1 << 15) | (1 << 6); // FTZ, DAZ

#[cfg(target_arch = "x86_64")]
#[inline]
fn read() -> u64 {
    let mut csr: u32 = 0;
    // SAFETY: stores the control register to a local.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &mut csr, options(nostack, preserves_flags));
    }
    u64::from(csr)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn write(value: u64) {
    let csr = value as u32;
    // SAFETY: the value is what `read` gave, with FTZ and DAZ possibly set.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &csr, options(nostack, readonly, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
const BITS: u64 = 1 << 24; // FZ

#[cfg(target_arch = "aarch64")]
#[inline]
fn read() -> u64 {
    let value: u64;
    // SAFETY: reads FPCR.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nostack, nomem)) };
    value
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn write(value: u64) {
    // SAFETY: the value is what `read` gave, with FZ possibly set.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nostack)) };
}

#[cfg(test)]
mod tests {
    use super::FlushToZero;
    use std::hint::black_box;

    #[test]
    fn denormals_are_flushed_and_the_old_mode_comes_back() {
        let smallest = f32::MIN_POSITIVE;
        assert!(black_box(smallest) / black_box(4.0) > 0.0);
        {
            let _mode = FlushToZero::new();
            assert_eq!(black_box(smallest) / black_box(4.0), 0.0);
        }
        assert!(black_box(smallest) / black_box(4.0) > 0.0);
    }
}
