//! Samples from one format to another, for channels whose input and output have not the same. Exact
//! where the target has as many bits.

/// Turns all that fits both; formats by ASIO's numbers.
pub(crate) fn convert(from: &[u8], from_format: i32, to: &mut [u8], to_format: i32) {
    let (from_bytes, to_bytes) = (bytes(from_format), bytes(to_format));
    for (from, to) in from.chunks_exact(from_bytes).zip(to.chunks_exact_mut(to_bytes)) {
        write(read(from, from_format), to, to_format);
    }
}

/// Big-endian formats first; from 16 on the same again, little-endian.
fn bytes(format: i32) -> usize {
    match format & 15 {
        0 => 2,
        1 => 3,
        4 => 8,
        _ => 4,
    }
}

/// 1 as an integer of this format; `None`: it has floats.
fn one(format: i32) -> Option<f64> {
    let bits = match format & 15 {
        0 | 8 => 16,
        9 => 18,
        10 => 20,
        1 | 11 => 24,
        2 => 32,
        _ => return None,
    };
    Some((1u64 << (bits - 1)) as f64)
}

fn read(sample: &[u8], format: i32) -> f64 {
    let mut little = [0u8; 8];
    let length = sample.len();
    little[..length].copy_from_slice(sample);
    if format < 16 {
        little[..length].reverse();
    }
    let whole = u64::from_le_bytes(little);
    match one(format) {
        Some(one) => {
            let unused = 64 - 8 * length as u32;
            ((whole << unused) as i64 >> unused) as f64 / one
        }
        None if length == 4 => f32::from_bits(whole as u32).into(),
        None => f64::from_bits(whole),
    }
}

fn write(value: f64, sample: &mut [u8], format: i32) {
    let length = sample.len();
    let whole = match one(format) {
        Some(one) => (value * one).round().clamp(-one, one - 1.0) as i64 as u64,
        None if length == 4 => u64::from((value as f32).to_bits()),
        None => value.to_bits(),
    };
    sample.copy_from_slice(&whole.to_le_bytes()[..length]);
    if format < 16 {
        sample.reverse();
    }
}
