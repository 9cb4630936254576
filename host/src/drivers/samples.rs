//! Samples as sound cards write them down, to and from `f32`.
//!
//! Integers of N bits stand for value / 2^(N-1): -1 is the smallest, the largest is one step below 1.
//! - Reading is exact up to 24 bits; 32 bits are rounded to the nearest `f32`, `f64` as well.
//! - Writing rounds to the nearest step, ties to even, and clips what lies beyond. A value that is
//!   a step is written as that step: what was read up to 24 bits and not changed is written as it
//!   was, to the bit. `f32` and `f64` are written as they are.
//! - Where bits are lost, to 24 bits and fewer, triangular noise of one step each way makes what
//!   is lost independent of the signal ([`Noise`]). A block of a channel that loses none gets none.
//!
//! Loops over whole blocks of one format, without branches, for compilers to make SIMD code of.
//! Nothing here allocates, locks or can fail.

use std::fmt;

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 16 bits.
    Int16,
    /// 24 bits in three bytes.
    Int24,
    /// 32 bits.
    Int32,
    /// The lower 16 of 32 bits; like the next three, for buses that carry words of 32 bits.
    Int32Low16,
    /// The lower 18 of 32 bits.
    Int32Low18,
    /// The lower 20 of 32 bits.
    Int32Low20,
    /// The lower 24 of 32 bits.
    Int32Low24,
    /// IEEE 754, 32 bits.
    Float32,
    /// IEEE 754, 64 bits.
    Float64,
}

/// How a channel's samples lie in memory, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SampleLayout {
    /// What they are.
    pub encoding: Encoding,
    /// Whether the byte with the highest bits comes first.
    pub big_endian: bool,
}

impl fmt::Display for SampleLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.encoding {
            Encoding::Int16 => "int16",
            Encoding::Int24 => "int24",
            Encoding::Int32 => "int32",
            Encoding::Int32Low16 => "int32 of 16 bits",
            Encoding::Int32Low18 => "int32 of 18 bits",
            Encoding::Int32Low20 => "int32 of 20 bits",
            Encoding::Int32Low24 => "int32 of 24 bits",
            Encoding::Float32 => "float32",
            Encoding::Float64 => "float64",
        };
        write!(f, "{name}{}", if self.big_endian { " big-endian" } else { "" })
    }
}

impl SampleLayout {
    /// By the number that ASIO gives it. `None`: there is none, or it is of one bit (DSD).
    pub fn from_asio(number: i32) -> Option<Self> {
        use Encoding::{
            Float32, Float64, Int16, Int24, Int32, Int32Low16, Int32Low18, Int32Low20, Int32Low24,
        };
        // Big-endian ones first; from 16 on the same again, little-endian.
        let encoding = match number & !16 {
            0 => Int16,
            1 => Int24,
            2 => Int32,
            3 => Float32,
            4 => Float64,
            8 => Int32Low16,
            9 => Int32Low18,
            10 => Int32Low20,
            11 => Int32Low24,
            _ => return None,
        };
        (0..32).contains(&number).then_some(Self { encoding, big_endian: number & 16 == 0 })
    }

    /// Bytes that a sample takes.
    pub fn bytes(self) -> usize {
        match self.encoding {
            Encoding::Int16 => 2,
            Encoding::Int24 => 3,
            Encoding::Float64 => 8,
            _ => 4,
        }
    }

    /// Bits that count; `None`: it is a float.
    pub fn bits(self) -> Option<u32> {
        Some(match self.encoding {
            Encoding::Int16 | Encoding::Int32Low16 => 16,
            Encoding::Int32Low18 => 18,
            Encoding::Int32Low20 => 20,
            Encoding::Int24 | Encoding::Int32Low24 => 24,
            Encoding::Int32 => 32,
            Encoding::Float32 | Encoding::Float64 => return None,
        })
    }

    /// Reads as many samples as fit both. Floats that are no number, or infinite, are read as 0.
    pub fn read(self, from: &[u8], to: &mut [f32]) {
        match (self.encoding, self.big_endian) {
            (Encoding::Int16, false) => ints(from, to, 16, |b| i16::from_le_bytes(b).into()),
            (Encoding::Int16, true) => ints(from, to, 16, |b| i16::from_be_bytes(b).into()),
            (Encoding::Int24, false) => ints(from, to, 24, |[a, b, c]| low24([a, b, c])),
            (Encoding::Int24, true) => ints(from, to, 24, |[a, b, c]| low24([c, b, a])),
            (Encoding::Float32, false) => floats(from, to, f32::from_le_bytes),
            (Encoding::Float32, true) => floats(from, to, f32::from_be_bytes),
            (Encoding::Float64, false) => floats(from, to, |b| f64::from_le_bytes(b) as f32),
            (Encoding::Float64, true) => floats(from, to, |b| f64::from_be_bytes(b) as f32),
            (_, big_endian) => {
                let bits = self.bits().unwrap_or(32);
                // Some drivers leave the upper bits as they find them.
                let unused = 32 - bits;
                match big_endian {
                    false => {
                        ints(from, to, bits, |b| (i32::from_le_bytes(b) << unused) >> unused);
                    }
                    true => {
                        ints(from, to, bits, |b| (i32::from_be_bytes(b) << unused) >> unused);
                    }
                }
            }
        }
    }

    /// Writes as many samples as fit both. `noise`: to dither with.
    pub fn write(self, from: &[f32], to: &mut [u8], noise: Option<&mut Noise>) {
        let Some(bits) = self.bits() else {
            match (self.encoding, self.big_endian) {
                (Encoding::Float32, false) => put(from, to, f32::to_le_bytes),
                (Encoding::Float32, true) => put(from, to, f32::to_be_bytes),
                (_, false) => put(from, to, |x| f64::from(x).to_le_bytes()),
                (_, true) => put(from, to, |x| f64::from(x).to_be_bytes()),
            }
            return;
        };
        let steps = Steps::new(bits);
        let noise = noise.filter(|_| bits <= 24 && !steps.hold_all(from));
        match (self.encoding, self.big_endian) {
            (Encoding::Int16, false) => steps.put(from, to, noise, |v| (v as i16).to_le_bytes()),
            (Encoding::Int16, true) => steps.put(from, to, noise, |v| (v as i16).to_be_bytes()),
            (Encoding::Int24, false) => steps.put(from, to, noise, |v| {
                let [a, b, c, _] = v.to_le_bytes();
                [a, b, c]
            }),
            (Encoding::Int24, true) => steps.put(from, to, noise, |v| {
                let [_, a, b, c] = v.to_be_bytes();
                [a, b, c]
            }),
            (_, false) => steps.put(from, to, noise, i32::to_le_bytes),
            (_, true) => steps.put(from, to, noise, i32::to_be_bytes),
        }
    }
}

fn low24([a, b, c]: [u8; 3]) -> i32 {
    i32::from_le_bytes([0, a, b, c]) >> 8
}

#[inline(always)]
fn ints<const N: usize>(
    from: &[u8],
    to: &mut [f32],
    bits: u32,
    value: impl Fn([u8; N]) -> i32 + Copy,
) {
    let step = 1.0 / (1u64 << (bits - 1)) as f32;
    for (to, from) in to.iter_mut().zip(from.as_chunks::<N>().0) {
        *to = value(*from) as f32 * step;
    }
}

#[inline(always)]
fn floats<const N: usize>(from: &[u8], to: &mut [f32], value: impl Fn([u8; N]) -> f32 + Copy) {
    for (to, from) in to.iter_mut().zip(from.as_chunks::<N>().0) {
        let value = value(*from);
        *to = if value.is_finite() { value } else { 0.0 };
    }
}

#[inline(always)]
fn put<const N: usize>(from: &[f32], to: &mut [u8], bytes: impl Fn(f32) -> [u8; N] + Copy) {
    for (to, from) in to.as_chunks_mut::<N>().0.iter_mut().zip(from) {
        *to = bytes(*from);
    }
}

/// The integers of so many bits. In `f64`, which holds all of them and their halves.
#[derive(Clone, Copy)]
struct Steps {
    scale: f64,
    min: f64,
    max: f64,
}

/// Adding and taking away 1.5 * 2^52 rounds to an integer, ties to even, which compilers turn into
/// two vector additions where they would call a function for rounding.
const ROUND: f64 = 6_755_399_441_055_744.0;

impl Steps {
    fn new(bits: u32) -> Self {
        let scale = (1u64 << (bits - 1)) as f64;
        Self { scale, min: -scale, max: scale - 1.0 }
    }

    #[inline(always)]
    fn scaled(self, sample: f32) -> f64 {
        (f64::from(sample) * self.scale).clamp(self.min, self.max)
    }

    /// Whether each sample is a step already (or clipped to one).
    fn hold_all(self, from: &[f32]) -> bool {
        let off = |sample: &f32| {
            let value = self.scaled(*sample);
            u32::from((value + ROUND) - ROUND != value)
        };
        // All are looked at: a loop that may end early can't be made SIMD code.
        from.iter().map(off).fold(0, |any, off| any | off) == 0
    }

    #[inline(always)]
    fn put<const N: usize>(
        self,
        from: &[f32],
        to: &mut [u8],
        noise: Option<&mut Noise>,
        bytes: impl Fn(i32) -> [u8; N] + Copy,
    ) {
        let to = to.as_chunks_mut::<N>().0;
        // NaN becomes 0 in the conversion to an integer.
        let Some(noise) = noise else {
            for (to, from) in to.iter_mut().zip(from) {
                *to = bytes(((self.scaled(*from) + ROUND) - ROUND) as i32);
            }
            return;
        };
        let begin = noise.next;
        for (at, (to, from)) in to.iter_mut().zip(from).enumerate() {
            let value = self.scaled(*from) + Noise::at(begin.wrapping_add(at as u32));
            *to = bytes(((value.clamp(self.min, self.max) + ROUND) - ROUND) as i32);
        }
        noise.next = begin.wrapping_add(from.len() as u32);
    }
}

/// Noise for dither: a triangular distribution from -1 to 1 step, the same from the same seed.
#[derive(Clone, Debug)]
pub struct Noise {
    next: u32,
}

impl Noise {
    /// Noise of its own for each channel, that of two channels being independent.
    pub fn new(channel: u32) -> Self {
        Self { next: channel.wrapping_mul(0x9e37_79b9) }
    }

    /// A number by its place: no state from one to the next, so that a loop needs not wait for it.
    #[inline(always)]
    fn at(place: u32) -> f64 {
        // "lowbias32", an integer hash whose bits each depend evenly on all bits of the place.
        let mut x = place ^ (place >> 16);
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        let (a, b) = ((x & 0xffff) as i32, (x >> 16) as i32);
        f64::from(a + b - 0xffff) / 65536.0
    }
}

#[cfg(test)]
mod tests;
