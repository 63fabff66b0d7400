//! Request and answer: what all requests have in common, whatever they ask and of which part of the kernel.

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockFlag, SockProtocol};

use crate::error::{BuildError, Malformed, OpenSocketError, RequestError};
use crate::message::{DONE, ERROR, FLAG_DUMP_INTERRUPTED, Message, Messages, text, u8_at, verdict};
use crate::request::Request;
use crate::transport::{BUFFER_BYTES, MAX_BUFFER_BYTES, Received, Transport};

/// How often a table is read at least that changes meanwhile, and for how long at least: on a slow machine a few tries
/// in a row may all meet a change.
const DUMP_ATTEMPTS: u32 = 10;
const DUMP_TIME: Duration = Duration::from_secs(2);
/// Most entries of a table: a full Internet routing table is about as large.
const MAX_ENTRIES: usize = 2_000_000;

/// How reading an answer ended.
#[derive(Debug)]
enum End {
    Whole,
    /// The table changed meanwhile, or the buffer was too small for a part of it.
    Torn,
}

/// One question after the other, over a socket that is bound to the namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Exchange {
    transport: Transport,
    buffer: Vec<u8>,
    sequence: u32,
    deadline: Option<Instant>,
    /// An answer may still be on its way: the request before was given up.
    stale: bool,
    /// The socket has a time limit set.
    timed: bool,
}

impl Exchange {
    /// Opens in the calling thread's namespace.
    pub(crate) fn open(protocol: SockProtocol) -> Result<Self, OpenSocketError> {
        let transport = Transport::open(protocol, 0, SockFlag::empty());
        Ok(Self {
            transport: transport.map_err(OpenSocketError::Open)?,
            buffer: vec![0; BUFFER_BYTES],
            sequence: 0,
            deadline: None,
            stale: false,
            timed: false,
        })
    }

    /// When to give up; `None` for never.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Reads a table of one family. Where IPv6 is switched off the kernel answers with the others' entries instead.
    pub(crate) fn dump_family<T>(
        &mut self,
        family: u8,
        request: Result<Request, BuildError>,
        parse: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, RequestError> {
        self.dump(request, |body| match u8_at(body, 0) {
            Some(found) if found != family => Ok(None),
            _ => parse(body),
        })
    }

    /// Reads a table, again if it changed meanwhile.
    pub(crate) fn dump<T>(
        &mut self,
        request: Result<Request, BuildError>,
        parse: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, RequestError> {
        let mut request = request?;
        let begun = Instant::now();
        let mut attempts = 0_u32;
        while attempts < DUMP_ATTEMPTS || begun.elapsed() < DUMP_TIME {
            attempts = attempts.saturating_add(1);
            let mut entries = Vec::new();
            let end = self.answer(&mut request, &mut |message| {
                if entries.len() == MAX_ENTRIES {
                    return Err(Malformed("the table has too many entries"));
                }
                entries.extend(parse(message.body)?);
                Ok(())
            })?;
            if let End::Whole = end {
                return Ok(entries);
            }
        }
        Err(RequestError::Unsteady {
            request: request.name,
            attempts,
        })
    }

    /// Sends a request and takes what is answered.
    pub(crate) fn ask(
        &mut self,
        request: Result<Request, BuildError>,
        take: &mut dyn FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<(), RequestError> {
        let mut request = request?;
        match self.answer(&mut request, take)? {
            End::Whole => Ok(()),
            End::Torn => Err(RequestError::Malformed {
                request: request.name,
                source: Malformed("the answer is too long"),
            }),
        }
    }

    /// Asks for a change.
    pub(crate) fn change(
        &mut self,
        request: Result<Request, BuildError>,
    ) -> Result<(), RequestError> {
        self.ask(request, &mut |_| Ok(()))
    }

    /// As [`Exchange::ask`], but leaves it to the caller to ask again after a torn answer.
    fn answer(
        &mut self,
        request: &mut Request,
        take: &mut dyn FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<End, RequestError> {
        let name = request.name;
        let socket_failed = |source| RequestError::Io {
            request: name,
            source,
        };
        self.discard_late_answers().map_err(socket_failed)?;
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Err(RequestError::TimedOut { request: name });
        }
        self.sequence = self.sequence.wrapping_add(1).max(1); // 0 is for events
        self.stale = true;
        self.transport
            .send(request.numbered(self.sequence))
            .map_err(socket_failed)?;
        let mut reader = Reader {
            request: name,
            sequence: self.sequence,
            torn: false,
        };
        loop {
            match self.receive(MsgFlags::empty()) {
                Ok(Received::Foreign) => {}
                Ok(Received::Truncated(length)) => {
                    let room = length.next_power_of_two().min(MAX_BUFFER_BYTES);
                    self.buffer.resize(room.max(self.buffer.len()), 0);
                    return Ok(End::Torn); // the end may have been in what is lost: do not wait for it
                }
                Ok(Received::Datagram(length)) => {
                    let datagram = self.buffer.get(..length).unwrap_or_default();
                    if let Some(end) = reader.read(datagram, take)? {
                        self.stale = false;
                        return end;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(RequestError::TimedOut { request: name });
                }
                Err(error) => return Err(socket_failed(error)),
            }
        }
    }

    fn receive(&mut self, flags: MsgFlags) -> io::Result<Received> {
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some() || self.timed {
            self.transport.wait_at_most(left)?;
            self.timed = left.is_some();
        }
        self.transport.receive(&mut self.buffer, flags)
    }

    /// Throws away what is left of a request that was given up. Reading a dump is also what makes the kernel end it.
    fn discard_late_answers(&mut self) -> io::Result<()> {
        while self.stale {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stale = false,
                Err(error) if error.raw_os_error() != Some(Errno::ENOBUFS as i32) => {
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Reads the answer to one request, datagram by datagram.
struct Reader {
    request: &'static str,
    sequence: u32,
    torn: bool,
}

impl Reader {
    /// Hands the messages of a datagram to `take`. `Some` at the end of the answer: how it went, by the kernel's word.
    ///
    /// # Errors
    /// When the answer cannot be read; then its end is still to come.
    fn read(
        &mut self,
        datagram: &[u8],
        take: &mut dyn FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<Option<Result<End, RequestError>>, RequestError> {
        let request = self.request;
        let malformed = |source| RequestError::Malformed { request, source };
        for message in Messages::new(datagram) {
            let message = message.map_err(malformed)?;
            if message.sequence != self.sequence {
                continue; // a late answer to an earlier request
            }
            self.torn |= message.flags & FLAG_DUMP_INTERRUPTED != 0;
            if matches!(message.kind, ERROR | DONE) {
                let (code, words) = verdict(&message).map_err(malformed)?;
                return Ok(Some(self.end(code, words)));
            }
            take(&message).map_err(malformed)?;
        }
        Ok(None)
    }

    fn end(&self, code: i32, words: Option<&[u8]>) -> Result<End, RequestError> {
        match code {
            0.. if self.torn => Ok(End::Torn),
            0.. => Ok(End::Whole),
            _ => Err(RequestError::Kernel {
                request: self.request,
                errno: Errno::from_raw(code.saturating_neg()),
                text: words.map(text),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
