//! Unix-domain sockets: the path and what becomes of it, and streams like any other.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use common::{DEADLINE, Log, TempDir, ZERO, echo, helper, manager, ms, note, pattern, read_all, read_n, record, until};
use vansire::net::Scheme;
use vansire::{Address, Ctx, Event, ListenOptions};

#[test]
fn a_path_is_there_while_its_listener_is() {
    let dir = TempDir::new();
    // (name, how it ends)
    for name in ["closed", "dropped"] {
        let path = dir.path(name);
        let mut manager = manager();
        let id = manager.net().listen(url(&path), echo).unwrap();
        assert!(fs::metadata(&path).unwrap().file_type().is_socket(), "{name}");
        assert_eq!(manager.net().local_addr(id), Some(Address::Unix(Some(path.clone()))), "{name}");
        let at = path.clone();
        let talk = helper(move || {
            let mut stream = client(&at);
            stream.write_all(b"hello").unwrap();
            let back = read_n(&mut stream, 5);
            stream.shutdown(Shutdown::Write).unwrap();
            (back, read_all(&mut stream))
        });
        assert_eq!(talk.wait(&mut manager, "an echo"), (b"hello".to_vec(), Vec::new()), "{name}");
        if name == "closed" {
            manager.net().close(id);
            manager.poll(Some(ZERO)).unwrap();
        } else {
            drop(manager);
        }
        assert!(!path.exists(), "{name}: the path is left");
    }
}

#[test]
fn a_path_that_a_dead_program_left_is_taken_over() {
    let dir = TempDir::new();
    let path = dir.path("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut manager = manager();
    manager.net().listen(url(&path), echo).unwrap();
    let talk = helper(move || {
        let mut stream = client(&path);
        stream.write_all(b"alive").unwrap();
        read_n(&mut stream, 5)
    });
    assert_eq!(talk.wait(&mut manager, "an echo"), b"alive");
}

#[test]
fn d4_a_path_that_is_in_use_or_no_socket_is_left_alone() {
    let dir = TempDir::new();
    let (living, file) = (dir.path("living"), dir.path("file"));
    let mut manager = manager();
    manager.net().listen(url(&living), echo).unwrap();
    let e = manager.net().listen(url(&living), echo).unwrap_err();
    assert!(e.is_address_in_use() && e.to_string().contains(&url(&living)), "{e}");
    fs::write(&file, "precious").unwrap();
    let e = manager.net().listen(url(&file), echo).unwrap_err();
    assert!(e.to_string().contains(&url(&file)) && e.to_string().contains("not a socket"), "{e}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    // The first one still serves.
    let talk = helper(move || {
        let mut stream = client(&living);
        stream.write_all(b"still").unwrap();
        read_n(&mut stream, 5)
    });
    assert_eq!(talk.wait(&mut manager, "an echo"), b"still");
}

#[test]
fn a_path_that_belongs_to_another_by_now_is_not_removed() {
    let dir = TempDir::new();
    let path = dir.path("shared");
    let mut manager = manager();
    let id = manager.net().listen(url(&path), echo).unwrap();
    fs::remove_file(&path).unwrap();
    let newer = UnixListener::bind(&path).unwrap();
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    assert!(path.exists());
    client(&path);
    drop(newer);
}

#[test]
fn the_mode_is_the_one_that_was_asked_for() {
    let dir = TempDir::new();
    for mode in [0o600, 0o660, 0o666] {
        let path = dir.path(&format!("{mode:o}"));
        let mut manager = manager();
        manager.net().listen(ListenOptions::new(url(&path)).unix_mode(mode), echo).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn a_connection_to_a_path_is_told_of_everything() {
    let dir = TempDir::new();
    let path = dir.path("outbound");
    let mut manager = manager();
    let nobody = manager.net().connect(url(&path), record).unwrap();
    until(&mut manager, "its end", |m| m.state().end_of(nobody).is_some());
    let end = manager.state().end_of(nobody).unwrap();
    assert!(end.contains(&url(&path)), "{end}");
    assert_eq!(manager.state().of(nobody).len(), 2, "{:?}", manager.state());

    let listener = manager.net().listen(url(&path), echo).unwrap();
    let id = manager.net().connect(url(&path), record).unwrap();
    manager.net().send(id, b"early");
    until(&mut manager, "the echo", |m| m.state().of(id).contains(&"Data early"));
    assert_eq!(manager.state().of(id), ["Opened", "Connected", "Data early"]);
    let info = manager.net().info(id).unwrap();
    assert_eq!((info.remote, info.local), (None, Some(Address::Unix(None))));
    let accepted = manager.state().who("Accepted")[0];
    assert_eq!(manager.net().info(accepted).unwrap().listener, Some(listener));
    manager.net().close(id);
    until(&mut manager, "the end of both", |m| m.state().count("Closed") == 3);
    assert_eq!(manager.state().end_of(accepted), Some("Closed: closed by the peer"));
}

#[test]
fn a_full_queue_refuses_instead_of_waiting_for_ever() {
    let dir = TempDir::new();
    let path = dir.path("full");
    let mut manager = manager();
    let slow = manager.net().listen(ListenOptions::new(url(&path)).backlog(1), record).unwrap();
    manager.net().pause_read(slow);
    for _ in 0..10 {
        manager.net().connect(url(&path), record).unwrap();
    }
    common::poll_for(&mut manager, ms(10));
    let refused = manager.state().count("Closed: cannot connect");
    assert!((5..=9).contains(&refused), "{refused} of 10 refused: {:?}", manager.state());
}

#[cfg(feature = "http")]
#[test]
fn http_is_spoken_over_a_path() {
    let dir = TempDir::new();
    let path = dir.path("web");
    let mut manager = manager();
    let hello = |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            assert_eq!(request.remote_addr(), None);
            cx.reply(vansire::http::Response::text(200, "over a path"));
        }
    };
    manager.net().listen(format!("http+unix:{}", path.display()), hello).unwrap();
    let talk = helper(move || {
        let mut stream = client(&path);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(read_all(&mut stream)).unwrap()
    });
    let reply = talk.wait(&mut manager, "a reply");
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("over a path"), "{reply}");
}

#[test]
fn what_a_peer_sent_before_it_closed_is_delivered_after_a_pause() {
    // A closed peer hangs up both directions of a Unix socket at once; what it sent is there to read all the same.
    let dir = TempDir::new();
    let path = dir.path("paused");
    let mut manager = manager();
    let id = manager.net().listen(url(&path), |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Accepted { .. } = ev {
            cx.net.pause_read(cx.conn);
        }
    });
    id.unwrap();
    client(&path).write_all(b"last will").unwrap();
    until(&mut manager, "an accept", |m| m.state().count("Accepted") == 1);
    let conn = manager.state().who("Accepted")[0];
    common::poll_for(&mut manager, ms(20));
    assert_eq!(manager.state().of(conn), ["Opened", "Accepted"]);
    manager.net().resume_read(conn);
    until(&mut manager, "its end", |m| m.state().end_of(conn).is_some());
    assert_eq!(manager.state().of(conn), ["Opened", "Accepted", "Data last will", "Closed: closed by the peer"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_that_is_passed_holds_up_nothing_behind_it() {
    if !common::process::alone("a_descriptor_that_is_passed_holds_up_nothing_behind_it") {
        return;
    }
    // A read stops behind the bytes that a descriptor comes with, so that a short one does not mean that the socket is
    // empty. Nobody takes the descriptor, so it is closed.
    let mut manager = manager();
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let id = manager.net().adopt(Scheme::Unix, stream, record).unwrap();
    manager.poll(Some(ZERO)).unwrap();
    let before = common::process::descriptors();
    peer.write_all(b"before, ").unwrap();
    // The header of a control message: its length, SOL_SOCKET, SCM_RIGHTS; then the descriptor.
    let mut control = [0; 24];
    control[..8].copy_from_slice(&20u64.to_ne_bytes());
    control[8..12].copy_from_slice(&1i32.to_ne_bytes());
    control[12..16].copy_from_slice(&1i32.to_ne_bytes());
    control[16..20].copy_from_slice(&1i32.to_ne_bytes());
    let bytes = [std::io::IoSlice::new(b"with it, ")];
    let message = socket2::MsgHdr::new().with_buffers(&bytes).with_control(&control);
    assert_eq!(socket2::SockRef::from(&peer).sendmsg(&message, 0).unwrap(), 9);
    peer.write_all(b"behind").unwrap();
    until(&mut manager, "all of it", |m| m.stats().bytes_in == 23);
    let told: String = manager.state().of(id)[1..].iter().map(|line| line.strip_prefix("Data ").unwrap()).collect();
    assert_eq!(told, "before, with it, behind");
    assert_eq!(common::process::descriptors(), before);
}

#[test]
fn megabytes_go_both_ways() {
    let dir = TempDir::new();
    let path = dir.path("much");
    let mut manager = vansire::Manager::new(()).unwrap();
    let back = |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            cx.send(&data);
        }
    };
    manager.net().listen(url(&path), back).unwrap();
    let talk = helper(move || {
        let sent = pattern(3_000_000);
        let mut stream = client(&path);
        let mut writer = stream.try_clone().unwrap();
        let copy = sent.clone();
        let write = std::thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let got = read_all(&mut stream);
        write.join().unwrap();
        got == sent
    });
    assert!(talk.wait(&mut manager, "3 MB there and back"));
}

#[test]
fn taken_over_sockets_are_served_and_their_path_stays() {
    let dir = TempDir::new();
    let path = dir.path("activated");
    let mut manager = manager();
    let outside = UnixListener::bind(&path).unwrap();
    let id = manager.net().adopt(Scheme::Unix, outside, echo).unwrap();
    let at = path.clone();
    let talk = helper(move || {
        let mut stream = client(&at);
        stream.write_all(b"hello").unwrap();
        read_n(&mut stream, 5)
    });
    assert_eq!(talk.wait(&mut manager, "an echo"), b"hello");
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    assert!(path.exists(), "the path belongs to whoever made it");

    let (mut peer, stream) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let id = manager.net().adopt(Scheme::Unix, stream, echo).unwrap();
    peer.write_all(b"pair").unwrap();
    until(&mut manager, "the echo", |m| m.stats().bytes_out >= 9);
    assert_eq!(read_n(&mut peer, 4), b"pair");
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(manager.state().of(id), ["Opened", "Data pair", "Closed: closed by this side"]);
}

fn url(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn client(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}
