use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;

/// Subject, block of headers, and whether the client reads a message with them.
const MESSAGES: [(&[u8], &[u8], bool); 36] = [
    (b"in.a", b"", true),
    (b"in.a", b"NATS/1.0\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nA: b\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nA:b\r\nA: c\r\nB:\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\nA: b\n\n", true),
    (b"in.a", b"NATS/1.0\r\nA: b", true),
    (b"in.a", b"NATS/1.0\r\nA: \xc3\xbc\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nA: b:c: d\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nA: b\r\n continued\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\n\r\n\r\nA: b\r\n", true),
    (b"in.a", b"NATS/1.0\r\n: no name\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nA: b\r\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nA: \r \x07b\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nA: a\0b\r\n\r\n", true),
    (b"in.a", b"NATS/1.0 503\r\n\r\n", true),
    (b"in.a", b"NATS/1.0  404  No Messages\r\n\r\n", true),
    (b"in.a", b"NATS/1.0100\r\n\r\n", true),
    (b"in.\xc2\xa0a", b"", true),
    // As the subject `in.`.
    (b"in.\xc2\xa0", b"NATS/1.0\r\n\r\n", true),
    (b"in.a", b"NATS/1.0\r\nbad name: x\r\n\r\n", false),
    (b"in.a", b"NATS/1.0\r\nA : x\r\n\r\n", false),
    (b"in.a", b"NATS/1.0\r\nna\xc3\xafve: x\r\n\r\n", false),
    (b"in.a", b"NATS/1.0\r\nno colon\r\n\r\n", false),
    (b"in.a", b"NATS/1.0\r\n A: continues nothing\r\n\r\n", false),
    (b"in.a", b"NATS/1.0\r\nA: b\r\n\r\nC\r\n", false),
    (b"in.a", b"NATS/1.0\r\nA: \xff\r\n\r\n", false),
    (b"in.a", b"NATS/1.0 abc\r\n\r\n", false),
    (b"in.a", b"NATS/1.0 099\r\n\r\n", false),
    (b"in.a", b"NATS/2.0\r\nA: b\r\n\r\n", false),
    (b"in.a", b"A: b\r\n\r\n", false),
    (b"in.a", b"\r\n\r\n", false),
    (b"in.a", b"NATS/1.0\r\nA: b\rC: d\r\n\r\n", false),
    (b"in.a", b"NATS/1.0\r\nA: b\r\r\n c\r\n\r\n", false),
    (b"in.\xc2\xa0a", b"NATS/1.0\r\n\r\n", false),
    (b"\xe2\x80\x83", b"NATS/1.0\r\n\r\n", false),
    (b"in.\xff", b"", false),
];

fn refused(subject: &[u8], block: &[u8]) -> Option<String> {
    refusal(&String::from_utf8_lossy(subject), block)
}

#[test]
fn what_the_client_cannot_read_is_refused_with_a_reason() {
    for (subject, block, is_read) in MESSAGES {
        let reason = refused(subject, block);
        assert_eq!(reason.is_none(), is_read, "{}: {reason:?}", block.escape_ascii());
    }
    let long = format!("NATS/1.0\r\n{}\r\n\r\n", "x\u{1b}".repeat(1000));
    let reason = refused(b"in.a", long.as_bytes()).unwrap();
    assert!(reason.len() < 500 && !reason.contains('\u{1b}'), "{reason}");
}

/// The table is the client's own behaviour: when this fails after an upgrade of
/// the client, the rules have changed, for the better perhaps.
#[tokio::test]
async fn the_client_itself_reads_and_refuses_the_same() {
    for (subject, block, is_read) in MESSAGES {
        let came = reads(subject, block).await;
        assert_eq!(came, is_read, "{} {}", subject.escape_ascii(), block.escape_ascii());
    }
}

#[test]
fn readable_headers_are_saved_among_those_that_are_not() {
    let block =
        b"NATS/1.0\r\nA: 1\r\nbad name: x\r\n y\r\nB: \xff\r\nC: a\rb\r\nA: 2\r\n  3\r\nno\r\n\r\n";
    let saved = salvage(block).into_iter().map(|header| (header.name, header.value));
    let expected = [("A", "1"), ("A", "2  3")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(saved.collect::<Vec<_>>(), expected);
    assert!(salvage(b"").is_empty() && salvage(b"\xff").is_empty());
}

/// Whether a client that is sent this message gets it. The server is a minimal
/// one of ours: it sends what a real one would not wrap so tightly.
async fn reads(subject: &[u8], block: &[u8]) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut bytes = match block.len() {
        0 => [b"MSG ", subject, b" 1 0\r\n"].concat(),
        n => [b"HMSG ", subject, format!(" 1 {n} {n}\r\n").as_bytes()].concat(),
    };
    bytes.extend([block, b"\r\n"].concat());
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        // The client gives a connection up by making another one, or it dies.
        tokio::select! {
            () = serve(socket, &bytes) => {}
            _ = listener.accept() => {}
        }
    });
    let client = async_nats::connect(address.to_string()).await.unwrap();
    let mut subscriber = client.subscribe(">").await.unwrap();
    let came = tokio::select! {
        came = timeout(Duration::from_secs(180), subscriber.next()) => came.unwrap().is_some(),
        () = async { server.await.unwrap() } => false,
    };
    // Both may be true at once: the message came, and then the end.
    came || subscriber.next().now_or_never().flatten().is_some()
}

/// Sends `bytes` for a subscription, and returns when the client has gone.
async fn serve(socket: TcpStream, bytes: &[u8]) {
    let (read, mut write) = socket.into_split();
    let info = "INFO {\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"2.10.0\",\"go\":\"x\",\
                \"host\":\"x\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\"proto\":1,\
                \"client_id\":1}\r\n";
    write.write_all(info.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match line.split(' ').next() {
            Some("PING") => b"PONG\r\n",
            Some("SUB") => bytes,
            _ => continue,
        };
        write.write_all(answer).await.unwrap();
    }
}
