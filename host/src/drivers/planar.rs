//! Channels one behind the other in memory, as the slices of a [`CallbackIo`].

use super::CallbackIo;
use std::any::Any;

/// Calls with a slice for each channel of `frames` samples. The lists of slices live on the stack,
/// in one of a few sizes, because they borrow and so can't be kept.
pub(crate) fn with_channels(
    inputs: &[f32],
    outputs: &mut [f32],
    frames: usize,
    call: impl FnOnce(&mut CallbackIo<'_>),
) {
    match inputs.len().max(outputs.len()) / frames.max(1) {
        0..=2 => with::<2>(inputs, outputs, frames, call),
        3..=16 => with::<16>(inputs, outputs, frames, call),
        17..=64 => with::<64>(inputs, outputs, frames, call),
        _ => with::<MOST>(inputs, outputs, frames, call),
    }
}

/// Channels each way that are passed on at most.
pub(crate) const MOST: usize = 512;

fn with<const ROOM: usize>(
    inputs: &[f32],
    outputs: &mut [f32],
    frames: usize,
    call: impl FnOnce(&mut CallbackIo<'_>),
) {
    let mut ins: [&[f32]; ROOM] = [&[]; ROOM];
    let mut outs: [&mut [f32]; ROOM] = std::array::from_fn(|_| Default::default());
    let (mut in_count, mut out_count) = (0, 0);
    for (slot, channel) in ins.iter_mut().zip(inputs.chunks_exact(frames.max(1))) {
        *slot = channel;
        in_count += 1;
    }
    for (slot, channel) in outs.iter_mut().zip(outputs.chunks_exact_mut(frames.max(1))) {
        *slot = channel;
        out_count += 1;
    }
    call(&mut CallbackIo::new(&ins[..in_count], &mut outs[..out_count]));
}

/// What a panic said.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no reason given".to_owned(),
    }
}
