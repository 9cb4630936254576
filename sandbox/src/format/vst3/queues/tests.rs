use super::*;
use vst3::ComRef;

fn open(ids: &[u32], queues: usize, points: usize) -> Changes {
    let changes = Changes::new(ids.into(), queues, points, true);
    changes.begin(64);
    changes
}

/// The list as a plugin calls it.
fn list(changes: &Changes) -> ComRef<'_, IParameterChanges> {
    // SAFETY: valid as long as `changes`.
    unsafe { ComRef::from_raw(changes.as_ptr()).unwrap() }
}

/// The queue of a parameter, as a plugin gets it.
fn queue(changes: &Changes, id: u32) -> ComRef<'_, IParamValueQueue> {
    let mut index = -1;
    // SAFETY: valid pointers; the queue is valid as long as `changes`.
    unsafe { ComRef::from_raw(list(changes).addParameterData(&id, &mut index)).unwrap() }
}

fn add(queue: ComRef<'_, IParamValueQueue>, time: i32, value: f64) -> (tresult, i32) {
    let mut index = -1;
    // SAFETY: a valid pointer.
    let result = unsafe { queue.addPoint(time, value, &mut index) };
    (result, index)
}

fn get(queue: ComRef<'_, IParamValueQueue>, index: i32) -> Option<(i32, f64)> {
    let (mut time, mut value) = (0, 0.0);
    // SAFETY: valid pointers.
    let result = unsafe { queue.getPoint(index, &mut time, &mut value) };
    (result == kResultOk).then_some((time, value))
}

fn all(changes: &Changes) -> Vec<(usize, Vec<(u32, f64)>)> {
    let mut all = vec![];
    changes.each(|param, points| all.push((param, points.collect())));
    all
}

#[test]
fn a_plugin_reads_what_the_host_wrote_in_any_order() {
    let changes = Changes::new([3, 5, 9].into(), 8, 8, false);
    changes.begin(64);
    for (param, time, value) in [(2, 0, 0.1), (0, 1, 0.2), (2, 7, 0.3), (2, 63, 0.4)] {
        assert!(changes.add(param, time, value));
    }
    let list = list(&changes);
    // SAFETY: no arguments, or any number.
    let (count, queues) = unsafe {
        let queue = |index| ComRef::from_raw(list.getParameterData(index));
        (list.getParameterCount(), [0, 1, 2, -1, i32::MIN, i32::MAX].map(queue))
    };
    assert_eq!(count, 2);
    let [Some(nine), Some(three), None, None, None, None] = queues else { panic!("two queues") };
    // SAFETY: no arguments.
    let ids =
        unsafe { [nine.getParameterId(), three.getParameterId(), nine.getPointCount() as u32] };
    assert_eq!(ids, [9, 3, 3]);
    for index in [2, 0, 1, 1, 2, 0] {
        assert_eq!(get(nine, index), Some([(0, 0.1), (7, 0.3), (63, 0.4)][index as usize]));
    }
    for index in [3, -1, i32::MAX, i32::MIN] {
        assert_eq!(get(nine, index), None);
    }
    // SAFETY: null is what this is about.
    unsafe { nine.getPoint(0, std::ptr::null_mut(), std::ptr::null_mut()) };
    // What the host gives is not the plugin's to change.
    assert_ne!(add(three, 3, 0.5).0, kResultOk);
    // SAFETY: valid pointers.
    assert!(unsafe { list.addParameterData(&5, &mut 0) }.is_null());
    assert_eq!(all(&changes).len(), 2);
}

#[test]
fn points_are_sorted_whatever_their_order() {
    let changes = open(&[7], 1, 16);
    let queue = queue(&changes, 7);
    for (time, value, index) in
        [(10, 0.1, 0), (5, 0.2, 0), (20, 0.3, 2), (10, 0.4, 2), (0, 0.5, 0), (63, 0.6, 5)]
    {
        assert_eq!(add(queue, time, value), (kResultOk, index));
    }
    let expected = vec![(0, 0.5), (5, 0.2), (10, 0.1), (10, 0.4), (20, 0.3), (63, 0.6)];
    assert_eq!(all(&changes), [(0, expected)]);
    assert_eq!(get(queue, 3), Some((10, 0.4)));
    assert_eq!(changes.take_dropped(), 0);
}

#[test]
fn values_and_times_out_of_range_are_brought_into_it_and_counted() {
    let changes = open(&[7], 1, 16);
    let queue = queue(&changes, 7);
    for (time, value) in [(-5, 0.5), (64, 2.0), (i32::MAX, f64::INFINITY), (i32::MIN, -1.0)] {
        assert_eq!(add(queue, time, value).0, kResultOk);
    }
    assert_ne!(add(queue, 0, f64::NAN).0, kResultOk);
    assert_eq!(all(&changes), [(0, vec![(0, 0.5), (0, 0.0), (63, 1.0), (63, 1.0)])]);
    assert_eq!(changes.take_dropped(), 5);
    // SAFETY: null is what this is about.
    unsafe { queue.addPoint(1, 0.5, std::ptr::null_mut()) };
    assert_eq!(changes.points(), 5);
}

#[test]
fn the_last_value_of_each_parameter_has_room_however_many_points_there_are() {
    let ids: Vec<u32> = (0..100).collect();
    let changes = open(&ids, 100, 10);
    for id in &ids {
        let queue = queue(&changes, *id);
        for time in 0..50 {
            assert_eq!(add(queue, time, f64::from(time) / 50.0).0, kResultOk);
        }
    }
    let all = all(&changes);
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|(_, points)| *points.last().unwrap() == (49, 0.98)));
    assert_eq!(changes.points(), 110);
    assert_eq!(changes.take_dropped(), 5000 - 110);
    changes.begin(64);
    assert_eq!(changes.points(), 0);
}

#[test]
fn thousands_of_queues_and_unknown_parameters_find_a_queue_that_takes_nothing() {
    let ids: Vec<u32> = (0..8).map(|n| 10 * n).collect();
    let changes = open(&ids, 4, 4);
    for id in (0..100_000).chain([u32::MAX]) {
        add(queue(&changes, id), 0, 0.5);
    }
    let params: Vec<usize> = all(&changes).into_iter().map(|(param, _)| param).collect();
    assert_eq!(params, [0, 1, 2, 3]);
    assert_eq!(changes.take_dropped(), 100_001 - 4);
    // The same queue again, not a second one.
    add(queue(&changes, 20), 1, 0.25);
    assert_eq!(all(&changes)[2], (2, vec![(0, 0.5), (1, 0.25)]));
    // SAFETY: null is what this is about.
    let nameless = unsafe {
        ComRef::from_raw(list(&changes).addParameterData(std::ptr::null(), std::ptr::null_mut()))
    };
    assert_ne!(add(nameless.unwrap(), 0, 0.5).0, kResultOk);
}

#[test]
fn a_queue_kept_from_an_earlier_block_is_harmless() {
    let changes = open(&[1, 2], 2, 4);
    let old = queue(&changes, 2);
    add(old, 3, 0.5);
    changes.begin(64);
    // It lies where the first queue of this block will.
    add(old, 5, 0.75);
    assert_eq!(changes.points(), 0);
    add(queue(&changes, 1), 0, 0.25);
    assert_eq!(all(&changes), [(0, vec![(0, 0.25)])]);
}

#[test]
fn of_many_changes_at_one_time_the_first_and_the_last_are_sent() {
    let changes = Changes::new([3].into(), 8, 16, false);
    changes.begin(64);
    for (time, value) in [(0, 0.1), (0, 0.2), (0, 0.3), (0, 0.4), (7, 0.5), (9, 0.6), (9, 0.7)] {
        assert!(changes.add(0, time, value));
    }
    assert!(changes.add(0, 9, 0.8));
    let points = vec![(0, 0.1), (0, 0.4), (7, 0.5), (9, 0.6), (9, 0.8)];
    assert_eq!(all(&changes), [(0, points)]);
    changes.begin(64);
    assert!(changes.add(0, 9, 0.1));
    assert_eq!(all(&changes), [(0, vec![(9, 0.1)])]);
}
