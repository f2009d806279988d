//! Links only if nothing in postern-core can panic: the panic handler calls a function that
//! does not exist, as hubris does it. It is never run. What it does not call is not proved.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use postern_core::config::{self, Client, Config};
use postern_core::engine::Engine;
use postern_core::kernlog::{self, Line};
use postern_core::method::Armed;
use postern_core::packet;
use postern_core::payload::RANDOM;
use postern_core::time::Instant;

unsafe extern "C" {
    safe fn postern_core_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    postern_core_can_panic()
}

/// Core's surface, with a state and with input that the compiler cannot know.
#[unsafe(no_mangle)]
extern "C" fn _start(now: u64) {
    let now = Instant::from_millis(now);
    let mut engine = Engine::<4096>::new();
    let engine = black_box(&mut engine);
    let bytes: &[u8] = black_box(&[]);
    if let Ok(knock) = packet::parse(bytes) {
        _ = black_box(engine.handle(now, &knock));
    }
    for line in [kernlog::line(bytes), logged(bytes)] {
        if let Line::Packet(Ok(knock)) = line {
            _ = black_box(engine.handle(now, &knock));
        }
    }
    engine.poll(now);
    black_box(engine.poll_at());
    engine.show_underway(now, &mut |attempt| _ = black_box(attempt));
    let config = Config::parse(bytes, |diagnostic| {
        _ = ufmt::uwrite!(&mut Nowhere, "{}", diagnostic);
    });
    if let Some(config) = config {
        for door in &config.doors {
            _ = config::write(door, &mut Nowhere);
            if let Some(code) = door.method.code() {
                black_box(code.knocks(bytes));
            }
            if let Some(payload) = &door.payload {
                black_box(payload.write(black_box(&[0; RANDOM])));
            }
        }
        _ = black_box(engine.configure(&config.doors));
    }
    engine.arm(bytes.len(), black_box(Armed::Shut));
    _ = engine.watch(bytes.len(), black_box(&[]));
    black_box(engine.armed(bytes.len()));
    black_box(Client::parse(bytes, |_| {}));
}

fn logged(bytes: &[u8]) -> Line<'_> {
    kernlog::record(bytes).map_or(Line::Foreign, |(_, line)| line)
}

struct Nowhere;

impl ufmt::uWrite for Nowhere {
    type Error = ();

    fn write_str(&mut self, text: &str) -> Result<(), ()> {
        black_box(text);
        Ok(())
    }
}
