//! Makes audio from a worker harmless: NaN, infinities and denormals become zero.

/// Replaces everything that is not a normal number (or zero) by zero. Returns false if there was
/// a NaN or an infinity.
#[inline]
pub fn scrub(samples: &mut [f32]) -> bool {
    let mut bad = 0;
    for sample in samples.iter_mut() {
        *sample = scrubbed(*sample, &mut bad);
    }
    bad == 0
}

/// One sample as [`scrub`] leaves it; `bad` becomes other than 0 if it was a NaN or an infinity.
#[inline(always)]
pub(crate) fn scrubbed(sample: f32, bad: &mut u32) -> f32 {
    // The exponent's bits tell: all ones is NaN or infinite, all zeros is zero or denormal.
    const EXPONENT: u32 = 0x7f80_0000;
    let exponent = sample.to_bits() & EXPONENT;
    let broken = exponent == EXPONENT;
    *bad |= u32::from(broken);
    if broken | (exponent == 0) { 0.0 } else { sample }
}

#[cfg(test)]
mod tests {
    use super::scrub;

    #[test]
    fn only_what_is_no_normal_number_becomes_zero() {
        let mut samples = [1.5, -0.25, f32::MIN_POSITIVE, f32::MAX, 0.0];
        assert!(scrub(&mut samples));
        assert_eq!(samples, [1.5, -0.25, f32::MIN_POSITIVE, f32::MAX, 0.0]);

        let mut denormal = [f32::MIN_POSITIVE / 2.0, -f32::MIN_POSITIVE / 4.0, 1.0];
        assert!(scrub(&mut denormal));
        assert_eq!(denormal.map(f32::to_bits), [0, 0, 1f32.to_bits()]);

        let mut broken = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0];
        assert!(!scrub(&mut broken));
        assert_eq!(broken, [0.0, 0.0, 0.0, 2.0]);
    }
}
