//! The floor of the fan-out: a loop that writes the same bytes to every socket, each 20 ms, and does nothing else.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use vansire_peers::{EVENT, EVENT_EVERY, addr_argument, listen};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn main() -> io::Result<()> {
    let listener = listen(addr_argument()?)?;
    listener.set_nonblocking(false)?;
    let clients: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let accepted = Arc::clone(&clients);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if let Ok(stream) = greet(stream) {
                accepted.lock().expect("nobody panics").push(stream);
            }
        }
    });
    for id in 0_u64.. {
        std::thread::sleep(EVENT_EVERY);
        let event = format!("id: {}\ndata: {EVENT}\n\n", 1_700_000_000_000 + id);
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        clients.lock().expect("nobody panics").retain_mut(|stream| stream.write_all(chunk.as_bytes()).is_ok());
    }
    Ok(())
}

fn greet(mut stream: TcpStream) -> io::Result<TcpStream> {
    let mut request = [0; 1024];
    if stream.read(&mut request)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.write_all(HEAD)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
