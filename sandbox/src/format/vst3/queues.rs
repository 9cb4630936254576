//! Parameter changes of a block: what the plugin is given, and what it puts out.
//!
//! All room is made beforehand. Points lie in one pool; each queue has one that is its own, so that
//! the last value of a parameter always has room.
//!
//! # Safety
//! Pointers that a plugin passes are checked for null and used at once; their validity is its
//! contract. Everything it can change is in `Cell`s with every index checked, so calls in any
//! order, also from within each other, do no harm. (Calls from several threads at once break the
//! format's rules; whoever does that could as well write to memory directly.)
#![allow(unsafe_code)]

use super::lent::Lent;
use std::cell::Cell;
use std::rc::Rc;
use vst3::Class;
use vst3::Steinberg::Vst::{
    IParamValueQueue, IParamValueQueueTrait, IParameterChanges, IParameterChangesTrait, ParamID,
    ParamValue,
};
use vst3::Steinberg::{int32, kInvalidArgument, kResultFalse, kResultOk, tresult};

/// No point, no queue.
const NONE: u32 = u32::MAX;

struct Point {
    time: Cell<i32>,
    value: Cell<f64>,
    next: Cell<u32>,
}

/// What all queues of a list share.
struct Pool {
    /// First one for each queue, then those for whoever needs more.
    points: Box<[Point]>,
    used: Cell<usize>,
    dropped: Cell<u64>,
    /// Whether the plugin may add.
    open: bool,
    frames: Cell<u32>,
}

impl Pool {
    fn drop_one(&self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

/// The points of one parameter, sorted by time.
struct Queue {
    pool: Rc<Pool>,
    /// Its own point; [`NONE`]: this one takes nothing.
    own: u32,
    id: Cell<u32>,
    /// Place of the parameter in the list.
    param: Cell<usize>,
    first: Cell<u32>,
    last: Cell<u32>,
    count: Cell<i32>,
    /// Whether the last two are of the same time.
    jumps: Cell<bool>,
    /// Where `getPoint` was last: its index and its point.
    cursor: Cell<(i32, u32)>,
}

impl Class for Queue {
    type Interfaces = (IParamValueQueue,);
}

impl Queue {
    fn new(pool: Rc<Pool>, own: u32) -> Self {
        Self {
            pool,
            own,
            id: Cell::new(NONE),
            param: Cell::new(0),
            first: Cell::new(NONE),
            last: Cell::new(NONE),
            count: Cell::new(0),
            jumps: Cell::new(false),
            cursor: Cell::new((0, NONE)),
        }
    }

    fn begin(&self, id: u32, param: usize) {
        self.id.set(id);
        self.param.set(param);
        self.first.set(NONE);
        self.last.set(NONE);
        self.count.set(0);
        self.jumps.set(false);
        self.cursor.set((0, NONE));
    }

    fn point(&self, at: u32) -> Option<&Point> {
        self.pool.points.get(at as usize)
    }

    fn at(&self, index: i32) -> Option<&Point> {
        if index < 0 || index >= self.count.get() {
            return None;
        }
        if index == self.count.get() - 1 {
            return self.point(self.last.get());
        }
        // Usually read from the first to the last.
        let (mut at, mut point) = self.cursor.get();
        if at > index || point == NONE {
            (at, point) = (0, self.first.get());
        }
        while at < index {
            point = self.point(point)?.next.get();
            at += 1;
        }
        self.cursor.set((at, point));
        self.point(point)
    }

    /// Adds a point, behind those of the same time; gives its index. Without room it takes the
    /// place of the last.
    fn add(&self, time: i32, value: f64) -> Option<i32> {
        if self.own == NONE {
            self.pool.drop_one();
            return None;
        }
        if !self.pool.open {
            // Two of one time are a jump. More mean nothing, and Steinberg's hostchecker counts
            // them as a mistake: the last takes the place of the second.
            let same = self.point(self.last.get()).filter(|last| last.time.get() == time);
            if let (Some(last), true) = (same, self.jumps.get()) {
                last.value.set(value);
                return Some(self.count.get() - 1);
            }
            self.jumps.set(same.is_some());
        }
        let taken = match self.count.get() {
            0 => self.own,
            _ if self.pool.used.get() < self.pool.points.len() => {
                let at = self.pool.used.get();
                self.pool.used.set(at + 1);
                at as u32
            }
            _ => {
                self.pool.drop_one();
                let last = self.point(self.last.get())?;
                if time >= last.time.get() {
                    last.time.set(time);
                    last.value.set(value);
                }
                return Some(self.count.get() - 1);
            }
        };
        let new = self.point(taken)?;
        new.time.set(time);
        new.value.set(value);
        let (index, before) = self.place_of(time);
        let link = match before {
            NONE => &self.first,
            before => &self.point(before)?.next,
        };
        new.next.set(link.replace(taken));
        if new.next.get() == NONE {
            self.last.set(taken);
        }
        self.count.set(self.count.get() + 1);
        self.cursor.set((0, NONE));
        Some(index)
    }

    /// Index of a new point, and the point before it.
    fn place_of(&self, time: i32) -> (i32, u32) {
        match self.point(self.last.get()) {
            Some(last) if last.time.get() <= time => return (self.count.get(), self.last.get()),
            _ => {}
        }
        let (mut index, mut before, mut at) = (0, NONE, self.first.get());
        while let Some(point) = self.point(at).filter(|point| point.time.get() <= time) {
            (before, at) = (at, point.next.get());
            index += 1;
        }
        (index, before)
    }

    fn points(&self) -> impl Iterator<Item = (u32, f64)> {
        let mut at = self.first.get();
        (0..self.count.get()).map_while(move |_| {
            let point = self.point(at)?;
            at = point.next.get();
            Some((point.time.get().max(0) as u32, point.value.get()))
        })
    }
}

impl IParamValueQueueTrait for Queue {
    unsafe fn getParameterId(&self) -> ParamID {
        self.id.get()
    }

    unsafe fn getPointCount(&self) -> int32 {
        self.count.get()
    }

    unsafe fn getPoint(&self, index: int32, time: *mut int32, value: *mut ParamValue) -> tresult {
        let Some(point) = self.at(index) else { return kInvalidArgument };
        // SAFETY: the plugin's own variables, or null.
        unsafe {
            if let Some(time) = time.as_mut() {
                *time = point.time.get();
            }
            if let Some(value) = value.as_mut() {
                *value = point.value.get();
            }
        }
        kResultOk
    }

    unsafe fn addPoint(&self, time: int32, value: ParamValue, index: *mut int32) -> tresult {
        if !self.pool.open {
            return kResultFalse;
        }
        let most = self.pool.frames.get().saturating_sub(1) as i32;
        if value.is_nan() {
            self.pool.drop_one();
            return kInvalidArgument;
        }
        if time < 0 || time > most {
            self.pool.drop_one();
        }
        let Some(at) = self.add(time.clamp(0, most), value.clamp(0.0, 1.0)) else {
            return kResultFalse;
        };
        // SAFETY: the plugin's own variable, or null.
        if let Some(index) = unsafe { index.as_mut() } {
            *index = at;
        }
        kResultOk
    }
}

/// Parameter changes in one direction.
pub(super) struct Changes(Lent<List>);

struct List {
    pool: Rc<Pool>,
    /// Sorted.
    ids: Rc<[u32]>,
    /// Of each parameter, which queue was its last.
    queue_of: Box<[Cell<u32>]>,
    queues: Box<[Lent<Queue>]>,
    count: Cell<usize>,
    /// Takes what has no place, for a plugin may not look whether it was given a queue.
    sink: Lent<Queue>,
}

impl Class for List {
    type Interfaces = (IParameterChanges,);
}

impl List {
    /// The queue of a parameter, which is taken into the list if it is not in it.
    fn queue(&self, param: usize) -> Option<(usize, &Lent<Queue>)> {
        let known = self.queue_of.get(param)?;
        let at = known.get() as usize;
        if at < self.count.get() && self.queues[at].param.get() == param {
            return Some((at, &self.queues[at]));
        }
        let at = self.count.get();
        let queue = self.queues.get(at)?;
        queue.begin(self.ids[param], param);
        known.set(at as u32);
        self.count.set(at + 1);
        Some((at, queue))
    }
}

impl IParameterChangesTrait for List {
    unsafe fn getParameterCount(&self) -> int32 {
        self.count.get() as int32
    }

    unsafe fn getParameterData(&self, index: int32) -> *mut IParamValueQueue {
        match usize::try_from(index) {
            Ok(at) if at < self.count.get() => self.queues[at].as_ptr(),
            _ => std::ptr::null_mut(),
        }
    }

    unsafe fn addParameterData(
        &self,
        id: *const ParamID,
        index: *mut int32,
    ) -> *mut IParamValueQueue {
        if !self.pool.open {
            return std::ptr::null_mut();
        }
        // SAFETY: the plugin's own variable, or null.
        let param = unsafe { id.as_ref() }.and_then(|id| self.ids.binary_search(id).ok());
        let Some((at, queue)) = param.and_then(|param| self.queue(param)) else {
            return self.sink.as_ptr();
        };
        // SAFETY: the plugin's own variable, or null.
        if let Some(index) = unsafe { index.as_mut() } {
            *index = at as int32;
        }
        queue.as_ptr()
    }
}

impl Changes {
    /// Room for changes of so many of the parameters at once, and so many points beside the first
    /// of each. `open`: the plugin may add.
    pub(super) fn new(ids: Rc<[u32]>, queues: usize, points: usize, open: bool) -> Self {
        let queues = queues.min(ids.len());
        let point = || Point { time: Cell::new(0), value: Cell::new(0.0), next: Cell::new(NONE) };
        let pool = Rc::new(Pool {
            points: (0..queues + points).map(|_| point()).collect(),
            used: Cell::new(queues),
            dropped: Cell::new(0),
            open,
            frames: Cell::new(0),
        });
        let queue = |own| Lent::new(Queue::new(pool.clone(), own));
        Self(Lent::new(List {
            queue_of: ids.iter().map(|_| Cell::new(NONE)).collect(),
            ids,
            queues: (0..queues as u32).map(queue).collect(),
            count: Cell::new(0),
            sink: queue(NONE),
            pool: pool.clone(),
        }))
    }

    /// Empties it, for a block.
    pub(super) fn begin(&self, frames: u32) {
        // Whoever kept one must not reach points that are others' now.
        for queue in self.queues() {
            queue.begin(NONE, usize::MAX);
        }
        self.0.count.set(0);
        self.0.pool.used.set(self.0.queues.len());
        self.0.pool.frames.set(frames);
    }

    /// Adds a point. The parameter by its place in the list; false: no room for one more.
    pub(super) fn add(&self, param: usize, time: u32, value: f64) -> bool {
        match self.0.queue(param) {
            Some((_, queue)) => queue.add(time as i32, value).is_some(),
            None => false,
        }
    }

    /// Points of all parameters.
    pub(super) fn points(&self) -> usize {
        self.queues().map(|queue| queue.count.get() as usize).sum()
    }

    /// Each changed parameter's place in the list, with its points.
    pub(super) fn each(&self, mut take: impl FnMut(usize, &mut dyn Iterator<Item = (u32, f64)>)) {
        for queue in self.queues() {
            take(queue.param.get(), &mut queue.points());
        }
    }

    /// What had no place since the last call.
    pub(super) fn take_dropped(&self) -> u64 {
        self.0.pool.dropped.take()
    }

    pub(super) fn as_ptr(&self) -> *mut IParameterChanges {
        self.0.as_ptr()
    }

    fn queues(&self) -> impl Iterator<Item = &Lent<Queue>> {
        self.0.queues.iter().take(self.0.count.get())
    }
}

#[cfg(test)]
#[path = "queues/tests.rs"]
mod tests;
