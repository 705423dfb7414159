// franz-go as a judge. Arguments and output as in ../python/features.py: BOOTSTRAP PREFIX FEATURE...
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	name = "franz-go"
	wait = 30 * time.Second
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

var codecNames = []string{"none", "gzip", "snappy", "lz4", "zstd"}

type judge struct {
	bootstrap, prefix string
	client            *kgo.Client
	admin             *kadm.Client
}

// failure carries a wrong answer up to the loop over the features.
type failure struct{ error }

func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func must(err error, what string) {
	if err != nil {
		fail("%s: %w", what, err)
	}
}

func equal(got, expected any, what string) {
	g, e := fmt.Sprintf("%v", got), fmt.Sprintf("%v", expected)
	if g != e {
		fail("%s: expected %.300s, got %.300s", what, e, g)
	}
}

func until(condition func() bool, what string) {
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if condition() {
			return
		}
	}
	fail("not within %v: %s", wait, what)
}

func soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	time.AfterFunc(wait, cancel)
	return ctx
}

func refusedWith(expected *kerr.Error, err error, what string) {
	var refusal *kerr.Error
	if !errors.As(err, &refusal) {
		fail("%s: expected %s, got %v", what, expected.Message, err)
	}
	equal(refusal.Message, expected.Message, "error of "+what)
}

func payload(seed, index, size int) []byte {
	b := make([]byte, size)
	for j := range b {
		b[j] = byte(seed*131 + index*31 + j*7 + (j>>8)*13)
	}
	return b
}

func (j *judge) open(options ...kgo.Opt) *kgo.Client {
	all := append([]kgo.Opt{kgo.SeedBrokers(j.bootstrap), kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)), kgo.RecordRetries(5)}, options...)
	client, err := kgo.NewClient(all...)
	must(err, "opening a client")
	return client
}

func (j *judge) tryCreate(topic string, partitions int32, configs map[string]string) error {
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	answer, err := j.admin.CreateTopic(soon(), partitions, 1, values, topic)
	if err == nil {
		err = answer.Err
	}
	return err
}

func (j *judge) create(topic string, partitions int32, configs map[string]string) {
	must(j.tryCreate(topic, partitions, configs), "creating "+topic)
}

// produce sends all records at once and returns where each went.
func (j *judge) produce(topic string, records []*kgo.Record, options ...kgo.Opt) ([]*kgo.Record, error) {
	client := j.open(append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(20 * time.Millisecond)}, options...)...)
	defer client.Close()
	sent := make([]*kgo.Record, len(records))
	for i, r := range records {
		copied := *r
		copied.Topic = topic
		sent[i] = &copied
	}
	return sent, client.ProduceSync(soon(), sent...).FirstErr()
}

func (j *judge) mustProduce(topic string, records []*kgo.Record, options ...kgo.Opt) []*kgo.Record {
	sent, err := j.produce(topic, records, options...)
	must(err, "producing to "+topic)
	return sent
}

func (j *judge) read(topic string, starts map[int32]int64, count int) []*kgo.Record {
	at := map[int32]kgo.Offset{}
	for p, o := range starts {
		at[p] = kgo.NewOffset().At(o)
	}
	client := j.open(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at}))
	defer client.Close()
	ctx := soon()
	var found []*kgo.Record
	for len(found) < count && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
				fail("fetching partition %d of %s: %w", e.Partition, topic, e.Err)
			}
		}
		found = append(found, fetches.Records()...)
	}
	return found[:min(count, len(found))]
}

func sameRecords(got, sent []*kgo.Record, what string) {
	of := func(all []*kgo.Record, partition int32) (some []*kgo.Record) {
		for _, r := range all {
			if r.Partition == partition {
				some = append(some, r)
			}
		}
		return
	}
	for partition := int32(0); partition < 3; partition++ {
		here, there := of(got, partition), of(sent, partition)
		equal(len(here), len(there), fmt.Sprintf("%s: records of partition %d", what, partition))
		for i, r := range there {
			g := here[i]
			equal(g.Offset, here[0].Offset+int64(i), what+": offset")
			if !bytes.Equal(g.Key, r.Key) || !bytes.Equal(g.Value, r.Value) || (g.Key == nil) != (r.Key == nil) || (g.Value == nil) != (r.Value == nil) {
				fail("%s: partition %d offset %d: expected key %q value %.60q, got key %q value %.60q", what, partition, g.Offset, r.Key, r.Value, g.Key, g.Value)
			}
			equal(fmt.Sprintf("%q", g.Headers), fmt.Sprintf("%q", r.Headers), what+": headers")
			if !r.Timestamp.IsZero() {
				equal(g.Timestamp.UnixMilli(), r.Timestamp.UnixMilli(), what+": timestamp")
			}
		}
	}
}

func (j *judge) bounds(topic string, partition int32) string {
	for tries := 0; ; tries++ {
		first, err := j.admin.ListStartOffsets(soon(), topic)
		must(err, "start offsets")
		end, err := j.admin.ListEndOffsets(soon(), topic)
		must(err, "end offsets")
		f, _ := first.Lookup(topic, partition)
		e, known := end.Lookup(topic, partition)
		if known && f.Err == nil && e.Err == nil {
			return fmt.Sprintf("%d-%d", f.Offset, e.Offset)
		}
		// A partition made a moment ago may not have its leader yet.
		if tries == 20 {
			fail("bounds of %s: %v %v", topic, f.Err, e.Err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

type owners struct {
	sync.Mutex
	owner      map[int32]string
	rounds     map[string]int
	violations []string
}

func newOwners() *owners { return &owners{owner: map[int32]string{}, rounds: map[string]int{}} }

func (o *owners) assigned(member string, partitions []int32) {
	o.Lock()
	defer o.Unlock()
	o.rounds[member]++
	for _, p := range partitions {
		if before, owned := o.owner[p]; owned && before != member {
			o.violations = append(o.violations, fmt.Sprintf("partition %d given to %s while %s owns it", p, member, before))
		}
		o.owner[p] = member
	}
}

func (o *owners) revoked(member string, partitions []int32) {
	o.Lock()
	defer o.Unlock()
	for _, p := range partitions {
		if o.owner[p] == member {
			delete(o.owner, p)
		}
	}
}

func (o *owners) of(member string) (all []int32) {
	o.Lock()
	defer o.Unlock()
	for p, owner := range o.owner {
		if owner == member {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return
}

func (o *owners) counts(members ...string) (all []int) {
	for _, m := range members {
		all = append(all, len(o.of(m)))
	}
	slices.Sort(all)
	return
}

func (o *owners) count(member string) int {
	o.Lock()
	defer o.Unlock()
	return o.rounds[member]
}

type member struct {
	name   string
	client *kgo.Client
	owners *owners
	mutex  sync.Mutex
	keys   map[string]bool
	done   chan struct{}
	cancel context.CancelFunc
	once   sync.Once
}

func (j *judge) member(group, topic string, o *owners, memberName string, options ...kgo.Opt) *member {
	m := &member{name: memberName, owners: o, keys: map[string]bool{}, done: make(chan struct{})}
	settings := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(10 * time.Second), kgo.HeartbeatInterval(500 * time.Millisecond), kgo.RebalanceTimeout(15 * time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { o.assigned(memberName, ps[topic]) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { o.revoked(memberName, ps[topic]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { o.revoked(memberName, ps[topic]) }),
	}
	m.client = j.open(append(settings, options...)...)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			pollCtx, stop := context.WithTimeout(ctx, 200*time.Millisecond)
			fetches := m.client.PollFetches(pollCtx)
			stop()
			m.mutex.Lock()
			for _, r := range fetches.Records() {
				m.keys[string(r.Key)] = true
			}
			m.mutex.Unlock()
			if !fetches.Empty() {
				if err := m.client.CommitUncommittedOffsets(ctx); err != nil {
					fmt.Fprintln(os.Stderr, memberName, "commit:", err)
				}
			}
			m.client.AllowRebalance()
		}
	}()
	return m
}

func (m *member) close() {
	m.once.Do(func() {
		m.cancel()
		<-m.done
		m.owners.revoked(m.name, m.owners.of(m.name))
		m.client.CloseAllowingRebalance()
	})
}

func (m *member) seen(key string) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.keys[key]
}

func numbered(count, partitions, seed, size int) (records []*kgo.Record) {
	for i := range count {
		records = append(records, &kgo.Record{Partition: int32(i % partitions), Key: []byte(strconv.Itoa(i)), Value: payload(seed, i, size)})
	}
	return
}

func (j *judge) doCreate(topic string) {
	j.create(topic, 3, map[string]string{"retention.ms": "3600000"})
	for p := range int32(3) {
		equal(j.bounds(topic, p), "0-0", "bounds of an empty partition")
	}
	refusedWith(kerr.TopicAlreadyExists, j.tryCreate(topic, 3, nil), "creating a topic twice")
	refusedWith(kerr.InvalidTopicException, j.tryCreate("no spaces in names", 1, nil), "a name with spaces")
	refusedWith(kerr.InvalidPartitions, j.tryCreate(topic+"-none", 0, nil), "no partitions")
	refusedWith(kerr.InvalidConfig, j.tryCreate(topic+"-odd", 1, map[string]string{"retention.ms": "soon"}), "a config that is no number")
}

func (j *judge) doProduce(topic, codec string) {
	j.create(topic, 3, nil)
	var sent []*kgo.Record
	ends := [3]int64{}
	for round, acks := range []kgo.Acks{kgo.AllISRAcks(), kgo.LeaderAck(), kgo.NoAck()} {
		var records []*kgo.Record
		for i := range 90 {
			records = append(records, &kgo.Record{Partition: int32(i % 3), Key: fmt.Appendf(nil, "k%d", i), Value: payload(round, i, 100+i*37%900)})
		}
		for _, r := range j.mustProduce(topic, records, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(codecs[codec])) {
			if round < 2 {
				equal(r.Offset, ends[r.Partition], fmt.Sprintf("offset in the reply, round %d", round))
			}
			ends[r.Partition]++
		}
		sent = append(sent, records...)
		until(func() bool {
			end, err := j.admin.ListEndOffsets(soon(), topic)
			total := int64(0)
			end.Each(func(o kadm.ListedOffset) { total += o.Offset })
			return err == nil && total == int64(len(sent))
		}, "records to be in the log")
	}
	sameRecords(j.read(topic, map[int32]int64{0: 0, 1: 0, 2: 0}, len(sent)), sent, codec)
}

func (j *judge) doIdempotent(topic string) {
	j.create(topic, 3, nil)
	records := numbered(600, 3, 7, 300)
	for i, r := range j.mustProduce(topic, records) {
		equal(r.Offset, i/3, "offset in the reply")
	}
	again := []*kgo.Record{{Partition: 0, Key: []byte("again"), Value: []byte("2")}}
	equal(j.mustProduce(topic, again)[0].Offset, 200, "a second producer's offset")
	sameRecords(j.read(topic, map[int32]int64{0: 0, 1: 0, 2: 0}, 601), append(records, again...), "idempotent")
}

func (j *judge) doGroupCommit(topic string) {
	j.create(topic, 2, nil)
	group := topic + "-g"
	j.mustProduce(topic, numbered(100, 2, 3, 50))
	settings := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	var seen []*kgo.Record
	first := j.open(settings...)
	for ctx := soon(); len(seen) < 40 && ctx.Err() == nil; {
		seen = append(seen, first.PollRecords(ctx, 40-len(seen)).Records()...)
	}
	must(first.CommitRecords(soon(), seen...), "committing")
	first.Close()
	at := map[int32]int64{}
	for _, r := range seen {
		at[r.Partition] = r.Offset + 1
	}
	committed, err := j.admin.FetchOffsets(soon(), group)
	must(err, "fetching offsets")
	for p, offset := range at {
		row, _ := committed.Lookup(topic, p)
		equal(row.At, offset, "committed offset")
	}
	second := j.open(settings...)
	for ctx := soon(); len(seen) < 100 && ctx.Err() == nil; {
		seen = append(seen, second.PollFetches(ctx).Records()...)
	}
	short, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
	seen = append(seen, second.PollFetches(short).Records()...)
	stop()
	second.Close()
	var numbers []int
	for _, r := range seen {
		n, _ := strconv.Atoi(string(r.Key))
		numbers = append(numbers, n)
		equal(bytes.Equal(r.Value, payload(3, n, 50)), true, "value as sent")
	}
	slices.Sort(numbers)
	expected := make([]int, 100)
	for i := range expected {
		expected[i] = i
	}
	equal(numbers, expected, "what both members read, each record once")
}

// rebalance runs for the client's own default (cooperative-sticky) and for an eager balancer.
func (j *judge) doRebalance(topic string) {
	for _, kind := range []string{"cooperative", "eager"} {
		var options []kgo.Opt
		if kind == "eager" {
			options = append(options, kgo.Balancers(kgo.RangeBalancer()))
		}
		j.rebalance(topic+"-"+kind, options...)
	}
}

func (j *judge) rebalance(topic string, options ...kgo.Opt) {
	j.create(topic, 4, nil)
	group, o := topic+"-g", newOwners()
	var sent []string
	some := func(round int) {
		records := numbered(40, 4, 1, 10)
		for i, r := range records {
			r.Key = fmt.Appendf(nil, "%d-%d", round, i)
			sent = append(sent, string(r.Key))
		}
		j.mustProduce(topic, records)
	}
	var members []*member
	defer func() {
		for _, m := range members {
			m.close()
		}
	}()
	everything := func() bool {
		for _, key := range sent {
			if !slices.ContainsFunc(members, func(m *member) bool { return m.seen(key) }) {
				return false
			}
		}
		return true
	}
	members = append(members, j.member(group, topic, o, "A", options...))
	until(func() bool { return len(o.of("A")) == 4 }, "the first member to own all four partitions")
	some(0)
	until(everything, "the first member to read everything")
	members = append(members, j.member(group, topic, o, "B", options...))
	until(func() bool { return slices.Equal(o.counts("A", "B"), []int{2, 2}) }, "two members to own two partitions each")
	some(1)
	until(everything, "both members to read everything")
	members[1].close()
	until(func() bool { return len(o.of("A")) == 4 }, "the first member to own everything again after the second left")
	some(2)
	until(everything, "everything to be read after the second left")
	equal(o.violations, []string(nil), "owners")
}

func (j *judge) doSurplus(topic string) {
	j.create(topic, 2, nil)
	o := newOwners()
	for _, n := range []string{"A", "B", "C"} {
		defer j.member(topic+"-g", topic, o, n).close()
	}
	settled := func() bool { return slices.Equal(o.counts("A", "B", "C"), []int{0, 1, 1}) }
	until(func() bool { return settled() && o.count("A") > 0 && o.count("B") > 0 && o.count("C") > 0 }, "two owners and one idle member")
	time.Sleep(2 * time.Second)
	equal(settled(), true, "two owners and one idle member, two seconds later")
	equal(o.violations, []string(nil), "owners")
}

func (j *judge) doSingleOwner(topic string) {
	j.create(topic, 6, nil)
	o := newOwners()
	alive := map[string]*member{}
	defer func() {
		for _, m := range alive {
			m.close()
		}
	}()
	for _, step := range []string{"+A", "+B", "+C", "-B", "+D", "-A", "-C"} {
		n := step[1:]
		if step[0] == '+' {
			alive[n] = j.member(topic+"-g", topic, o, n)
		} else {
			alive[n].close()
			delete(alive, n)
		}
		var names []string
		var share []int
		for n := range alive {
			names, share = append(names, n), append(share, 6/len(alive))
		}
		until(func() bool { return slices.Equal(o.counts(names...), share) }, step+": the members to share six partitions")
	}
	equal(o.violations, []string(nil), "owners")
}

func (j *judge) doStaticMember(topic string) {
	j.create(topic, 4, nil)
	group, o := topic+"-g", newOwners()
	first := j.member(group, topic, o, "A", kgo.InstanceID("one"), kgo.Balancers(kgo.RangeBalancer()))
	defer first.close()
	second := j.member(group, topic, o, "B", kgo.InstanceID("two"), kgo.Balancers(kgo.RangeBalancer()))
	defer second.close()
	until(func() bool { return slices.Equal(o.counts("A", "B"), []int{2, 2}) }, "two static members to own two partitions each")
	before, rounds := o.of("A"), o.count("B")
	first.close()
	time.Sleep(time.Second)
	again := j.member(group, topic, o, "A2", kgo.InstanceID("one"), kgo.Balancers(kgo.RangeBalancer()))
	defer again.close()
	until(func() bool { return slices.Equal(o.of("A2"), before) }, fmt.Sprintf("the restarted static member to own %v again", before))
	time.Sleep(1500 * time.Millisecond)
	equal(o.count("B"), rounds, "assignments of the other member (more: the restart made the group rebalance)")
	equal(o.violations, []string(nil), "owners")
}

func (j *judge) doSeekTime(topic string) {
	j.create(topic, 1, nil)
	base := time.UnixMilli(time.Now().UnixMilli() - 3_600_000)
	records := numbered(100, 1, 5, 40)
	for i, r := range records {
		r.Timestamp = base.Add(time.Duration(i) * time.Second)
	}
	j.mustProduce(topic, records[:60], kgo.ProducerBatchCompression(kgo.GzipCompression()))
	j.mustProduce(topic, records[60:], kgo.ProducerBatchCompression(kgo.NoCompression()))
	// Past the last record the client gives the end of the partition.
	for _, c := range [][2]int64{{-5000, 0}, {0, 0}, {50_000, 50}, {50_001, 51}, {75_500, 76}, {99_000, 99}, {99_001, 100}} {
		listed, err := j.admin.ListOffsetsAfterMilli(soon(), base.UnixMilli()+c[0], topic)
		must(err, "offsets by time")
		row, _ := listed.Lookup(topic, 0)
		must(row.Err, "offsets by time")
		equal(row.Offset, c[1], fmt.Sprintf("offset for base%+d ms", c[0]))
	}
	newest, err := j.admin.ListMaxTimestampOffsets(soon(), topic)
	must(err, "offset of the largest timestamp")
	row, _ := newest.Lookup(topic, 0)
	equal([2]int64{row.Offset, row.Timestamp - base.UnixMilli()}, [2]int64{99, 99_000}, "offset of the largest timestamp")
	got := j.read(topic, map[int32]int64{0: 51}, 1)[0]
	equal(fmt.Sprint(got.Offset, string(got.Key), got.Timestamp.UnixMilli()), fmt.Sprint(51, "51", base.UnixMilli()+51_000), "the record found by time")
	sameRecords(j.read(topic, map[int32]int64{0: 0}, 100), records, "timestamps")
}

func (j *judge) doLarge(topic string) {
	j.create(topic, 1, map[string]string{"max.message.bytes": strconv.Itoa(8 << 20)})
	var records []*kgo.Record
	for i := range 3 {
		records = append(records, &kgo.Record{Key: []byte("large"), Value: payload(i, i, 4<<20)})
	}
	j.mustProduce(topic, records, kgo.ProducerBatchMaxBytes(8<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	sameRecords(j.read(topic, map[int32]int64{0: 0}, 3), records, "4 MiB records")
	j.create(topic+"-small", 1, nil)
	_, err := j.produce(topic+"-small", []*kgo.Record{{Value: payload(1, 1, 1_200_000)}}, kgo.ProducerBatchMaxBytes(8<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	refusedWith(kerr.MessageTooLarge, err, "a record over max.message.bytes")
	equal(j.bounds(topic+"-small", 0), "0-0", "bounds after the refusal")
}

func (j *judge) doHeaders(topic string) {
	j.create(topic, 1, nil)
	h := func(pairs ...string) (all []kgo.RecordHeader) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return
	}
	var records []*kgo.Record
	for _, headers := range [][]kgo.RecordHeader{
		h("one", "1"), h("twice", "a", "other", "\x00\xff", "twice", "b"), h("empty", "", "größe", "naïve ✓"), {{Key: "null"}}, h("long", string(payload(1, 1, 5000))), nil,
	} {
		records = append(records, &kgo.Record{Key: []byte("k"), Value: []byte("v"), Headers: headers})
	}
	j.mustProduce(topic, records, kgo.ProducerBatchCompression(kgo.GzipCompression()))
	j.mustProduce(topic, records, kgo.ProducerBatchCompression(kgo.NoCompression()))
	sameRecords(j.read(topic, map[int32]int64{0: 0}, 12), append(slices.Clone(records), records...), "headers")
}

func (j *judge) doNulls(topic string) {
	j.create(topic, 1, nil)
	e := []byte{}
	var records []*kgo.Record
	for _, kv := range [][2][]byte{{nil, []byte("v")}, {[]byte("k"), nil}, {e, []byte("v")}, {[]byte("k"), e}, {nil, e}, {e, nil}} {
		records = append(records, &kgo.Record{Key: kv[0], Value: kv[1]})
	}
	j.mustProduce(topic, records, kgo.ProducerBatchCompression(kgo.NoCompression()))
	j.mustProduce(topic, records, kgo.ProducerBatchCompression(kgo.GzipCompression()))
	sameRecords(j.read(topic, map[int32]int64{0: 0}, 12), append(slices.Clone(records), records...), "null and empty")
}

func (j *judge) doAdmin(topic string) {
	j.create(topic, 1, nil)
	listed := func() kadm.TopicDetails {
		topics, err := j.admin.ListTopics(soon())
		must(err, "listing topics")
		return topics
	}
	until(func() bool { return listed().Has(topic) }, "the topic to be listed")
	equal(len(listed()[topic].Partitions[0].ISR), 1, "replicas in sync")
	metadata, err := j.admin.BrokerMetadata(soon())
	must(err, "broker metadata")
	equal(len(metadata.Brokers), 1, "nodes of the cluster")
	config := func(key string) string {
		described, err := j.admin.DescribeTopicConfigs(soon(), topic)
		must(err, "describing configs")
		must(described[0].Err, "describing configs")
		equal(len(described[0].Configs) >= 25, true, "at least 25 topic configs")
		for _, c := range described[0].Configs {
			if c.Key == key {
				return c.MaybeValue() + " " + c.Source.String()
			}
		}
		return "absent"
	}
	equal(config("retention.ms"), "604800000 DEFAULT_CONFIG", "default of retention.ms")
	value := "7200000"
	altered, err := j.admin.AlterTopicConfigs(soon(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, topic)
	must(err, "altering configs")
	must(altered[0].Err, "altering configs")
	until(func() bool { return config("retention.ms") == "7200000 DYNAMIC_TOPIC_CONFIG" }, "the new retention.ms")
	wrong := "soon"
	altered, err = j.admin.ValidateAlterTopicConfigs(soon(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &wrong}}, topic)
	must(err, "validating configs")
	refusedWith(kerr.InvalidConfig, altered[0].Err, "a config that is no number")

	made, err := j.admin.UpdatePartitions(soon(), 3, topic)
	must(err, "creating partitions")
	must(made.Error(), "creating partitions")
	until(func() bool { return len(listed()[topic].Partitions) == 3 }, "three partitions")
	fewer, err := j.admin.UpdatePartitions(soon(), 2, topic)
	must(err, "fewer partitions")
	refusedWith(kerr.InvalidPartitions, fewer.Error(), "fewer partitions")
	j.mustProduce(topic, numbered(10, 1, 1, 10))
	cut := kadm.Offsets{}
	cut.AddOffset(topic, 0, 4, -1)
	deleted, err := j.admin.DeleteRecords(soon(), cut)
	must(err, "deleting records")
	must(deleted.Error(), "deleting records")
	equal(j.bounds(topic, 0), "4-10", "bounds after delete-records")
	logDirs, err := j.admin.DescribeAllLogDirs(soon(), nil)
	must(err, "describing log directories")
	logDirs.Each(func(d kadm.DescribedLogDir) { must(d.Err, "describing log directory "+d.Dir) })
	set := kadm.TopicsSet{}
	set.Add(topic, 0)
	producers, err := j.admin.DescribeProducers(soon(), set)
	must(err, "describing producers")
	equal(len(producers.SortedProducers()), 1, "producers of the partition (the client is idempotent by default)")
	epochs := kadm.OffsetForLeaderEpochRequest{}
	epochs.Add(topic, 0, 0)
	ends, err := j.admin.OffsetForLeaderEpoch(soon(), epochs)
	must(err, "offset for leader epoch")
	equal(ends[topic][0].Err, nil, "error of OffsetForLeaderEpoch")

	group, o := topic+"-g", newOwners()
	one := j.member(group, topic, o, "A")
	defer one.close()
	until(func() bool { return one.seen("9") }, "the group to read the last record")
	groups, err := j.admin.DescribeGroups(soon(), group)
	must(err, "describing groups")
	equal(fmt.Sprint(groups[group].State, len(groups[group].Members)), "Stable1", "group with one member")
	time.Sleep(300 * time.Millisecond) // its commit
	one.close()
	all, err := j.admin.ListGroups(soon())
	must(err, "listing groups")
	equal(all[group].State, "Empty", "state of the listed group")
	offsets, err := j.admin.FetchOffsets(soon(), group)
	must(err, "fetching offsets")
	row, _ := offsets.Lookup(topic, 0)
	equal(row.At, 10, "the group's offset")
	lag, err := j.admin.Lag(soon(), group)
	must(err, "lag")
	equal(lag[group].Lag.Total(), 0, "lag")
	gone, err := j.admin.DeleteOffsets(soon(), group, set)
	must(err, "deleting offsets")
	must(gone.Error(), "deleting offsets")
	answer, err := j.admin.DeleteGroup(soon(), group)
	must(err, "deleting the group")
	must(answer.Err, "deleting the group")
	answer, err = j.admin.DeleteGroup(soon(), group)
	if err == nil {
		err = answer.Err
	}
	refusedWith(kerr.GroupIDNotFound, err, "deleting an unknown group")

	removed, err := j.admin.DeleteTopic(soon(), topic)
	must(err, "deleting the topic")
	must(removed.Err, "deleting the topic")
	until(func() bool { return !listed().Has(topic) }, "the topic to be gone")
}

func (j *judge) doTransactionsAnswered(topic string) {
	begun := time.Now()
	client := j.open(kgo.TransactionalID(topic))
	defer client.Close()
	err := client.BeginTransaction()
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
		defer cancel()
		_, _, err = client.ProducerID(ctx)
	}
	fmt.Fprintln(os.Stderr, "transactions:", err)
	if took := time.Since(begun); took > 15*time.Second {
		fail("a transactional producer was answered only after %v: %v", took, err)
	}
}

func interopRecords(client, codec string) (records []*kgo.Record) {
	seed := 0
	for _, b := range []byte(client + codec) {
		seed = (seed + int(b)) & 0xff
	}
	for i := range 50 {
		r := &kgo.Record{Key: fmt.Appendf(nil, "%s-%s-%d", client, codec, i), Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(codec)}}}
		if i%10 != 9 {
			r.Value = payload(seed, i, 20+i*53%700)
		}
		records = append(records, r)
	}
	return
}

func (j *judge) doInteropWrite() {
	for _, codec := range codecNames {
		topic := fmt.Sprintf("%s-interop-%s-%s", j.prefix, name, codec)
		j.create(topic, 1, nil)
		j.mustProduce(topic, interopRecords(name, codec), kgo.ProducerBatchCompression(codecs[codec]))
	}
}

func (j *judge) doInteropRead(writers string) {
	for _, writer := range strings.Split(writers, ",") {
		client, codec, _ := strings.Cut(writer, ":")
		sameRecords(j.read(fmt.Sprintf("%s-interop-%s-%s", j.prefix, client, codec), map[int32]int64{0: 0}, 50), interopRecords(client, codec), "what "+writer+" wrote")
	}
}

func (j *judge) run(feature string) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			f, known := thrown.(failure)
			if !known {
				panic(thrown)
			}
			err = f.error
		}
	}()
	feature, value, _ := strings.Cut(feature, "=")
	topic := fmt.Sprintf("%s-%s-%s", j.prefix, name, feature)
	if codec, found := strings.CutPrefix(feature, "produce-"); found {
		j.doProduce(topic, codec)
		return
	}
	table := map[string]func(string){
		"create": j.doCreate, "idempotent": j.doIdempotent, "group-commit": j.doGroupCommit, "rebalance": j.doRebalance, "surplus": j.doSurplus,
		"single-owner": j.doSingleOwner, "static-member": j.doStaticMember, "seek-time": j.doSeekTime, "large": j.doLarge, "headers": j.doHeaders,
		"nulls": j.doNulls, "admin": j.doAdmin, "transactions-answered": j.doTransactionsAnswered, "interop-write": func(string) { j.doInteropWrite() }, "interop-read": func(string) { j.doInteropRead(value) },
	}
	table[feature](topic)
	return
}

func main() {
	j := &judge{bootstrap: os.Args[1], prefix: os.Args[2]}
	j.client = j.open()
	j.admin = kadm.NewClient(j.client)
	failed := false
	for _, feature := range os.Args[3:] {
		shown, _, _ := strings.Cut(feature, "=")
		fmt.Fprintln(os.Stderr, "---", shown)
		if err := j.run(feature); err != nil {
			failed = true
			fmt.Printf("FAIL %s %.900s\n", shown, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("PASS", shown)
		}
	}
	j.client.Close()
	if failed {
		os.Exit(1)
	}
}
