//! Takes memory until there is no more on the payload `hog`; as many MiB as the
//! payload says if it is a number; echoes if it is still alive.

use std::hint::black_box;

use guest::{Event, Guest, Handled, echo, number};

struct Hog;

impl Guest for Hog {
    fn handle(event: Event) -> Handled {
        let endless = (event.payload == b"hog").then_some(u64::MAX);
        let mut hoard = Vec::new();
        for _ in 0..endless.or(number(&event)).unwrap_or(0) {
            hoard.push(black_box(vec![1_u8; 1 << 20]));
        }
        drop(black_box(hoard));
        echo(event)
    }
}

guest::export!(Hog);
