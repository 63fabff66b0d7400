//! What the daemon does, seen from outside: over the kubelet's sockets, the bus and the API server's requests.

mod health;
mod kubelet;
mod pods;
mod prepare;
mod quarantine;
mod session;
mod trace;
mod unprepare;
