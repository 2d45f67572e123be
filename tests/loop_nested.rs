//! A manager inside another event loop, by its descriptor.
#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::{DEADLINE, addr, client, ms};
use rustix::event::{Timespec, epoll};
use vansire::{Ctx, Event, Manager};

/// A loop around a manager that is told of edges, as tokio's is.
struct Outer {
    epoll: std::os::fd::OwnedFd,
}

impl Outer {
    fn around(manager: &Manager<u64>) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, manager, epoll::EventData::new_u64(1), flags).unwrap();
        Self { epoll }
    }

    /// Whether the manager's descriptor was ready within this time.
    fn wait(&self, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        let mut events = Vec::with_capacity(4);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).unwrap();
        !events.is_empty()
    }

    /// As the documentation says, until the state is this.
    fn run(&self, manager: &mut Manager<u64>, state: u64) {
        let end = Instant::now() + DEADLINE;
        while *manager.state() != state {
            assert!(Instant::now() < end, "{} of {state}", manager.state());
            let wait = manager.poll_timeout().unwrap_or(DEADLINE).min(DEADLINE);
            self.wait(wait);
            manager.poll(Some(Duration::ZERO)).unwrap();
        }
    }
}

fn counts(cx: &mut Ctx<'_, u64>, ev: Event<'_>) {
    match ev {
        Event::Data(data) => *cx.state += data.len() as u64,
        Event::Wakeup(_) => *cx.state += 1,
        _ => {}
    }
}

#[test]
fn sockets_wakeups_and_timers_show_and_an_idle_manager_does_not() {
    let mut manager = Manager::new(0).unwrap();
    let outer = Outer::around(&manager);
    assert_eq!(manager.poll_timeout(), None, "nothing is due");
    let listener = manager.net().listen("tcp://127.0.0.1:0", counts).unwrap();
    assert_eq!(manager.poll_timeout(), Some(Duration::ZERO), "the listener is to be told");
    manager.poll(Some(Duration::ZERO)).unwrap();
    while outer.wait(ms(0)) {}
    assert!(!outer.wait(ms(50)), "an idle manager is quiet");
    let mut stream = client(addr(&mut manager, listener));
    outer.run(&mut manager, 0);
    stream.write_all(b"hello").unwrap();
    outer.run(&mut manager, 5);
    stream.write_all(b"again").unwrap();
    outer.run(&mut manager, 10);
    let waker = manager.waker();
    let thread = std::thread::spawn(move || waker.wakeup(listener, b"x").unwrap());
    outer.run(&mut manager, 11);
    thread.join().unwrap();
    manager.net().timer_after(ms(20), |cx| *cx.state += 1);
    let wait = manager.poll_timeout().unwrap();
    assert!(wait > Duration::ZERO && wait <= ms(20), "{wait:?}");
    let start = Instant::now();
    outer.run(&mut manager, 12);
    assert!(start.elapsed() >= wait);
    while outer.wait(ms(0)) {}
    assert!(!outer.wait(ms(50)), "and quiet again");
}

/// What a turn leaves behind is told by `Turn::more`, since there is no new edge for it.
#[test]
fn a_turn_that_leaves_something_behind_says_so() {
    let mut manager = Manager::new(0u64).unwrap();
    let outer = Outer::around(&manager);
    let listener = manager.net().listen("tcp://127.0.0.1:0", counts).unwrap();
    let mut stream = client(addr(&mut manager, listener));
    let bytes = vec![0; 1 << 20];
    let writer = std::thread::spawn(move || stream.write_all(&bytes).map(|()| stream));
    let end = Instant::now() + DEADLINE;
    let mut is_due = true;
    while *manager.state() < 1 << 20 {
        assert!(Instant::now() < end, "{} bytes", manager.state());
        is_due = is_due || outer.wait(DEADLINE);
        assert!(is_due, "no edge, and no word of more: {} bytes", manager.state());
        is_due = manager.poll(Some(Duration::ZERO)).unwrap().more;
    }
    drop(writer.join().unwrap());
}
