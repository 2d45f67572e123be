//! The example `static_files`, with this test as its client.

mod common;

use std::fs;
use std::sync::mpsc::channel;

use common::{TempDir, get};
use vansire::Address;

#[allow(dead_code, reason = "its main is not called")]
#[path = "../examples/static_files.rs"]
mod example;

#[test]
fn a_folder_and_what_is_built_in_are_served() {
    let folder = TempDir::new();
    fs::create_dir(folder.path("docs")).unwrap();
    fs::write(folder.path("docs/a.txt"), "hello").unwrap();
    let root = folder.path("").to_string_lossy().into_owned();
    let (tell, told) = channel();
    // It serves until this process ends.
    std::thread::spawn(move || example::serve(&root, "127.0.0.1:0", |at| tell.send(at).unwrap()).unwrap());
    let Ok(Address::Inet(addr)) = told.recv_timeout(common::DEADLINE) else { panic!("it does not listen") };
    assert_eq!(get(addr, "/docs/a.txt"), Some((200, "hello".into())));
    assert!(get(addr, "/docs/").is_some_and(|(status, page)| status == 200 && page.contains("href=\"./a.txt\"")));
    assert_eq!(get(addr, "/../etc/passwd").map(|(status, _)| status), Some(404));
    let source = include_str!("../examples/static_files.rs");
    assert_eq!(get(addr, "/built-in/source.rs"), Some((200, source.into())));
}
