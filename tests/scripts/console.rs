//! `console-producer` and `console-consumer`: what they write into a topic, and what they print of one.

use std::process::Output;

use tests::tally::Tally;

use super::{Cluster, Script, text};

const PRODUCER: Script = Script { noun: "console-producer", class: "org.apache.kafka.tools.ConsoleProducer" };
const CONSUMER: Script = Script { noun: "console-consumer", class: "org.apache.kafka.tools.consumer.ConsoleConsumer" };

/// Records of one partition: null and empty parts, headers, text and bytes that are none.
const RECORDS: &str = r#"{"timestamp":1500000000001,"key":"k1","value":"first"}
{"timestamp":1500000000002,"key":null,"value":"without a key","headers":[{"name":"source","value":"web"}]}
{"timestamp":1500000000003,"key":"k3","value":null}
{"timestamp":1500000000004,"key":"","value":"","headers":[{"name":"a","value":null},{"name":"a","value":""}]}
{"timestamp":1500000000005,"key":"größe","value":"tab\there"}
{"timestamp":1500000000006,"key":{"base64":"/w=="},"value":{"base64":"AP8K"},"headers":[{"name":"b","value":{"base64":"/w=="}}]}
"#;

/// What is printed of them. `{who}` differs for the two, so that each has a group of its own.
const PRINTED: &[&str] = &[
    "--topic read --from-beginning --max-messages 6",
    "--topic read --from-beginning --timeout-ms 4000",
    "--topic read --timeout-ms 3000",
    "--topic read --from-beginning --max-messages 2 --formatter-property print.key=true",
    "--topic read --from-beginning --max-messages 6 --formatter-property print.timestamp=true --formatter-property \
     print.partition=true --formatter-property print.offset=true --formatter-property print.delivery=true \
     --formatter-property print.epoch=true --formatter-property print.headers=true --formatter-property print.key=true",
    "--topic read --from-beginning --max-messages 6 --property print.key=TRUE --property print.headers=true \
     --property headers.separator=; --property key.separator=| --property null.literal=NIL --property line.separator=/",
    "--topic read --from-beginning --max-messages 3 --formatter-property print.value=false",
    "--topic read --from-beginning --max-messages 3 --formatter-property print.value=false --formatter-property \
     print.offset=true",
    "--topic read --partition 0 --offset 2 --max-messages 2 --formatter-property print.offset=true",
    "--topic read --partition 0 --offset earliest --max-messages 1",
    "--topic read --partition 0 --offset latest --timeout-ms 2000",
    "--topic read --partition 0 --timeout-ms 2000",
    "--include re.* --from-beginning --max-messages 1",
    "--topic read --from-beginning --max-messages 1 --isolation-level read_committed",
    "--topic stamped --from-beginning --max-messages 1 --formatter-property print.timestamp=true",
    "--topic read --group {who} --from-beginning --max-messages 2",
    "--topic read --group {who} --from-beginning --max-messages 2",
    "--topic read --group {who} --timeout-ms 4000 --formatter-property print.offset=true",
];

/// What is sent, and the lines that it is read from.
const SENT: &[(&str, &str)] = &[
    ("", "one\n\ntwo\r\nlast"),
    ("--sync", "one\ntwo\n"),
    ("--compression-codec zstd --request-required-acks 1 --timeout 10 --batch-size 1000", "one\ntwo\n"),
    ("--reader-property parse.key=true", "k\tv\n\tv\nk\t\nk\tv\tw\n"),
    ("--property parse.key=true --property key.separator=::", "k::v::w\n"),
    ("--reader-property parse.key=true", "k\tv\nwithout\nk\tw\n"),
    ("--reader-property parse.key=true --reader-property ignore.error=true", "k\tv\nwithout\n"),
    ("--reader-property parse.key=true --reader-property null.marker=NUL", "NUL\tv\nk\tNUL\nk\tNULL\n"),
    ("--reader-property parse.headers=true", "a:1,b:2\tv\na:\tv\n\tv\n"),
    ("--reader-property parse.headers=true --reader-property parse.key=true", "a:1,a:2:3\tk\tv\n"),
    (
        "--reader-property parse.headers=true --reader-property headers.delimiter=| --reader-property \
         headers.separator=; --reader-property headers.key.separator== --reader-property null.marker=NUL",
        "a=1;b=NUL|v\nNUL|w\n",
    ),
    ("--reader-property parse.headers=true", "a:1\tv\nodd\tv\n"),
    ("--reader-property parse.headers=true --reader-property ignore.error=true", "odd\tv\nnone\n"),
    ("--reader-property parse.headers=true --reader-property headers.separator=:", "a:1\tv\n"),
];

/// How many things are judged.
pub fn cases() -> u32 {
    (PRINTED.len() + SENT.len()) as u32
}

/// Judges all of them.
///
/// # Errors
/// The topics could not be made ready.
pub fn judge(tally: &mut Tally, name: &str, cluster: &Cluster<'_>) -> Result<(), String> {
    for (topic, time) in [("read", "CreateTime"), ("stamped", "LogAppendTime")] {
        let time = format!("message.timestamp.type={time}");
        succeeds(
            cluster
                .ours("topics", &["--create", "--topic", topic, "--config", "retention.ms=-1", "--config", &time])?,
        )?;
        succeeds(cluster.ours_with("produce", &["-t", topic, "-J"], RECORDS)?)?;
    }
    for arguments in PRINTED {
        tally.judge(&format!("{name}: console-consumer {arguments}"), printed(cluster, arguments));
    }
    for (number, (arguments, lines)) in SENT.iter().enumerate() {
        let what = format!("{name}: console-producer {arguments} of {lines:?}");
        tally.judge(&what, sent(cluster, number, arguments, lines));
    }
    Ok(())
}

fn printed(cluster: &Cluster<'_>, arguments: &str) -> Result<(), String> {
    let [for_ours, for_theirs] = ["ours", "theirs"].map(|who| arguments.replace("{who}", who));
    // Side by side: some of them only wait.
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| cluster.theirs(CONSUMER.class, &words(&for_theirs)));
        let ours = cluster.ours(CONSUMER.noun, &words(&for_ours));
        (theirs.join().expect("no panic"), ours)
    });
    let (theirs, ours) = (theirs?, ours?);
    // On stderr are the errors in each one's own words, and then the count. What Kafka's tool says of an old flag stands
    // before the records on stdout, where ours prints nothing but records.
    let seen = |output: &Output| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let count = errors.lines().find(|line| line.starts_with("Processed ")).map(str::to_owned);
        let mut records = &output.stdout[..];
        while let (true, Some(end)) =
            (records.starts_with(b"Option --"), records.iter().position(|&byte| byte == b'\n'))
        {
            records = &records[end + 1..];
        }
        (output.status.code(), records.to_vec(), count)
    };
    if seen(&theirs) == seen(&ours) { Ok(()) } else { Err(differ(&theirs, &ours)) }
}

fn sent(cluster: &Cluster<'_>, number: usize, arguments: &str, lines: &str) -> Result<(), String> {
    let arguments = words(arguments);
    let send = |who: &str| {
        let topic = format!("sent-{number}-by-{who}");
        succeeds(cluster.ours("topics", &["--create", "--topic", &topic])?)?;
        let arguments = [&["--topic", &topic], &arguments[..]].concat();
        let output = match who {
            "ours" => cluster.ours_with(PRODUCER.noun, &arguments, lines)?,
            _ => cluster.theirs_with(PRODUCER.class, &arguments, lines)?,
        };
        let format = "%k|%K|%s|%S|%h\\n";
        let records = succeeds(cluster.ours("consume", &["-t", &topic, "-e", "-f", format])?)?;
        Ok::<_, String>((output, text(&records)))
    };
    let (theirs, their_records) = send("theirs")?;
    let (ours, our_records) = send("ours")?;
    if their_records != our_records {
        return Err(format!("Kafka's wrote {their_records:?}; ours {our_records:?}; {}", differ(&theirs, &ours)));
    }
    if theirs.status.success() == ours.status.success() { Ok(()) } else { Err(differ(&theirs, &ours)) }
}

fn words(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

fn succeeds(output: Output) -> Result<Output, String> {
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn differ(theirs: &Output, ours: &Output) -> String {
    let shown = |output: &Output| {
        let errors: String = String::from_utf8_lossy(&output.stderr).chars().take(500).collect();
        format!("{} {:?} {errors:?}", output.status, text(output))
    };
    format!("Kafka's: {}; ours: {}", shown(theirs), shown(ours))
}
