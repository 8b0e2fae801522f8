//! Reading (protocol.md sections 8.4 to 8.7): fetches, subscriptions, cursors, dequeues.

mod cursors;
mod dequeue;
mod fetch;
mod subscribe;
