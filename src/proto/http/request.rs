//! A request as a handler sees it.

use std::net::SocketAddr;
use std::ops::Deref;

use super::Head;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    head: Head<'a>,
    body: &'a [u8],
    remote: Option<SocketAddr>,
}

impl<'a> Request<'a> {
    /// A request.
    pub fn new(head: Head<'a>, body: &'a [u8], remote: Option<SocketAddr>) -> Self {
        Self { head, body, remote }
    }

    /// Body.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Remote.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote
    }
}

impl<'a> Deref for Request<'a> {
    type Target = Head<'a>;

    fn deref(&self) -> &Head<'a> {
        &self.head
    }
}
