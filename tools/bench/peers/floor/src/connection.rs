//! One HTTP/1.1 connection over a blocking socket, opened again when the other side has closed it.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::Failure;

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
/// The first attempt and two more, as the functions.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(50);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to one server: with TLS, or without it and without limits of time.
pub struct Connection {
    /// Host and port, as the header `host` has them.
    pub authority: String,
    tls: Option<Arc<ClientConfig>>,
    stream: Option<Box<dyn Stream>>,
}

/// A response. Its head is in lower case.
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
    head: String,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(this, _)| *this == name).map(|(_, value)| value.trim())
    }
}

impl Connection {
    /// A connection that is not open yet.
    pub fn new(authority: &str, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { authority: authority.to_owned(), tls, stream: None }
    }

    /// Opens it, unless it is open.
    pub fn open(&mut self) -> Result<(), Failure> {
        if self.stream.is_some() {
            return Ok(());
        }
        let (host, port) = self.authority.rsplit_once(':').unwrap_or((&self.authority, "443"));
        let address = (host, port.parse()?).to_socket_addrs()?.next().ok_or("no address")?;
        let mut socket = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        socket.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            self.stream = Some(Box::new(socket));
            return Ok(());
        };
        socket.set_read_timeout(Some(ATTEMPT_LIMIT))?;
        let mut session = ClientConnection::new(tls.clone(), host.to_owned().try_into()?)?;
        session.complete_io(&mut socket)?;
        self.stream = Some(Box::new(StreamOwned::new(session, socket)));
        Ok(())
    }

    /// Sends a request. A server's fault and a broken connection are retried.
    pub fn send(&mut self, request: &[u8]) -> Result<Response, Failure> {
        for attempt in 1..ATTEMPTS {
            match self.send_once(request) {
                Ok(response) if response.status < 500 => return Ok(response),
                Ok(_) => sleep(PAUSE * attempt),
                Err(_) => self.stream = None,
            }
        }
        self.send_once(request)
    }

    fn send_once(&mut self, request: &[u8]) -> Result<Response, Failure> {
        self.open()?;
        let stream = self.stream.as_mut().ok_or("no connection")?;
        stream.write_all(request)?;
        stream.flush()?;
        let (mut read, mut chunk) = (Vec::new(), [0; 8_192]);
        let end = loop {
            read_more(stream, &mut read, &mut chunk)?;
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
        };
        let mut body = read.split_off(end + 4);
        let head = String::from_utf8(read)?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut response = Response { status, body: Vec::new(), head };
        let length = response.header("content-length").ok_or("no length")?.parse()?;
        while body.len() < length {
            read_more(stream, &mut body, &mut chunk)?;
        }
        response.body = body;
        Ok(response)
    }
}

fn read_more(stream: &mut impl Read, to: &mut Vec<u8>, chunk: &mut [u8]) -> Result<(), Failure> {
    match stream.read(chunk)? {
        0 => Err("the connection was closed".into()),
        length => Ok(to.extend_from_slice(&chunk[..length])),
    }
}
