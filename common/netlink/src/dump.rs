//! Readings of the whole namespace that do not block an async runtime.
//!
//! The kernel answers while it takes the request, and may make that wait for others: so even a non-blocking socket
//! blocks. Here each reading goes to tokio's pool of blocking threads.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::address::Address;
use crate::error::{OpenSocketError, RequestError};
use crate::link::Link;
use crate::netns::Netns;
use crate::route::RouteEntry;
use crate::socket::Socket;

/// What is in a namespace, each table read at its own moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump {
    /// All links.
    pub links: Vec<Link>,
    /// All addresses, see [`Socket::addresses`].
    pub addresses: Vec<Address>,
    /// All routes, see [`Socket::routes`].
    pub routes: Vec<RouteEntry>,
}

/// A [`Socket`] for asking from async code. Clones share it and wait for each other.
#[derive(Debug, Clone)]
pub struct Dumper(Arc<Mutex<Socket>>);

impl Dumper {
    /// Opens in the calling thread's namespace.
    pub fn open() -> Result<Self, OpenSocketError> {
        Ok(Self(Arc::new(Mutex::new(Socket::open()?))))
    }

    /// Opens in another namespace.
    pub fn open_in(netns: &Netns) -> Result<Self, OpenSocketError> {
        Ok(Self(Arc::new(Mutex::new(Socket::open_in(netns)?))))
    }

    /// [`Socket::links`].
    pub async fn links(&self) -> Result<Vec<Link>, RequestError> {
        self.ask("list links", Socket::links).await
    }

    /// [`Socket::addresses`].
    pub async fn addresses(&self) -> Result<Vec<Address>, RequestError> {
        let all = |socket: &mut Socket| socket.addresses(None);
        self.ask("list addresses", all).await
    }

    /// [`Socket::routes`].
    pub async fn routes(&self) -> Result<Vec<RouteEntry>, RequestError> {
        self.ask("list routes", Socket::routes).await
    }

    /// [`Socket::route_to`].
    pub async fn route_to(
        &self,
        destination: std::net::IpAddr,
    ) -> Result<Option<u32>, RequestError> {
        let lookup = move |socket: &mut Socket| socket.route_to(destination);
        self.ask("look up a route", lookup).await
    }

    /// Everything.
    pub async fn dump(&self) -> Result<Dump, RequestError> {
        let everything = |socket: &mut Socket| {
            Ok(Dump {
                links: socket.links()?,
                addresses: socket.addresses(None)?,
                routes: socket.routes()?,
            })
        };
        self.ask("list links, addresses and routes", everything)
            .await
    }

    /// # Cancel safety
    /// Dropping the future leaves the request running; the next one waits for its end.
    async fn ask<T: Send + 'static>(
        &self,
        request: &'static str,
        question: impl FnOnce(&mut Socket) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, RequestError> {
        let socket = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || {
            // A socket is sound between requests, whatever became of the one before.
            question(&mut socket.lock().unwrap_or_else(PoisonError::into_inner))
        });
        asked.await.map_err(|error| RequestError::Io {
            request,
            source: io::Error::other(error),
        })?
    }
}
