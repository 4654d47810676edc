# Nexmark q1, q3 to q9, q15, q17 as views over auctions that come, change and go; and CH-benCHmark's queries of orders under
# a writer in the manner of TPC-C, whose transactions change several tables each.
#
# TD_SEED=n repeats a run, TD_CH_SECONDS is the time of the writers (5 here).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(start_churn stop_churn inexact wait_views);
use TdWorkload qw(make_workload digests wrong by_whole report);
use TdFuzz qw(seed_of);
use Time::HiRes qw(time);

my %must = (nexmark => 10, ch => 4);    # how many must be accepted

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
start_server('nexmark', 'max_worker_processes = 32', 'max_prepared_transactions = 20', 'deadlock_timeout = 50ms');
execute('postgres', 'CREATE EXTENSION tapdata');
my $dbh = psql('postgres');

# n of them of the stream from number `first`: in 50 events 1 person, 3 auctions, 46 bids
my $h = "(hashint8extended(i, $seed + %d) & 4611686018427387903) %% %s";
sub h { my ($salt, $n) = @_; return '(' . sprintf($h, $salt, $n) . ')' }

sub nexmark_events
{
	my ($first, $n) = @_;
	my $last = $first + $n - 1;
	my $time = "timestamp '2026-01-01' + i * interval '1 minute'";
	return (
		"INSERT INTO nexmark.person SELECT i / 50, 'person ' || i, 'p\@' || i, (ARRAY['Phoenix', 'Kent', 'Bend', 'Boise'])[1 + @{[h(1, 4)]}], (ARRAY['OR', 'CA', 'WA', 'ID', 'AZ'])[1 + @{[h(2, 5)]}], $time
			FROM generate_series($first, $last) i WHERE i % 50 = 0",
		"INSERT INTO nexmark.auction SELECT i, 'item ' || i, 'd', @{[h(3, 100)]}, @{[h(4, 1000)]}, @{[h(5, 'greatest(i / 50, 1)')]}, 10 + @{[h(6, 5)]}, $time, $time + interval '1 minute' * (60 + @{[h(7, 2000)]})
			FROM generate_series($first, $last) i WHERE i % 50 IN (1, 2, 3)",
		"INSERT INTO nexmark.bid (auction, bidder, price, channel, url, date_time) SELECT (i - @{[h(8, 'least(i + 1, 2000)')]}) / 50 * 50 + 1 + i % 3, @{[h(9, 'greatest(i / 50, 1)')]}, 1 + @{[h(10, 20)]} * 100000 / (1 + i % 7), 'c' || i % 4, 'u', $time
			FROM generate_series($first, $last) i WHERE i % 50 > 3");
}

my $counts = sub { my ($c) = @_; return "count(*) AS total, count(*) FILTER (WHERE price < 10000) AS rank1, count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2, count(*) FILTER (WHERE price >= 1000000) AS rank3$c" };
my $distinct = join '', map { my $c = $_; ", count(DISTINCT $c) AS total_$c, count(DISTINCT $c) FILTER (WHERE price < 10000) AS rank1_$c, count(DISTINCT $c) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_$c, count(DISTINCT $c) FILTER (WHERE price >= 1000000) AS rank3_$c" } qw(bidder auction);
my @nexmark = (
	['q1', 'SELECT bid_id, auction, bidder, (price * 908) / 1000 AS price_euro, channel, url, date_time FROM nexmark.bid'],
	['q3', q{SELECT p.name, p.city, p.state, a.id FROM nexmark.auction a JOIN nexmark.person p ON a.seller = p.id WHERE a.category = 10 AND p.state IN ('OR', 'CA', 'WA')}],
	['q4', 'SELECT a.category, avg(b.max_price) AS price FROM nexmark.auction a JOIN (SELECT b.auction, max(b.price) AS max_price FROM nexmark.bid b JOIN nexmark.auction x ON x.id = b.auction
		AND b.date_time BETWEEN x.date_time AND x.expires GROUP BY b.auction) b ON a.id = b.auction GROUP BY a.category'],
	['q5', 'SELECT auction, count(*) AS num_bids FROM nexmark.bid GROUP BY auction'],
	['q6', 'SELECT a.seller, avg(b.price) AS price, count(*) AS n FROM nexmark.bid b JOIN nexmark.auction a ON b.auction = a.id GROUP BY a.seller'],
	['q7', 'SELECT max(price) AS price FROM nexmark.bid'],
	['q8', 'SELECT p.id, p.name, a.id AS auction_id, a.reserve FROM nexmark.person p JOIN nexmark.auction a ON p.id = a.seller'],
	['q9', 'SELECT * FROM (SELECT a.*, b.auction, b.bidder, b.price, b.date_time AS bid_dt, row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.bid_id) AS rn FROM nexmark.auction a
		JOIN nexmark.bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) x WHERE rn <= 1'],
	['q15', 'SELECT date_time::date AS day, ' . $counts->($distinct) . ' FROM nexmark.bid GROUP BY date_time::date'],
	['q17', 'SELECT auction, date_time::date AS day, ' . $counts->(', min(price) AS least, max(price) AS most, avg(price) AS mean, sum(price) AS sum') . ' FROM nexmark.bid GROUP BY auction, date_time::date']);

# ---- Nexmark ----

$dbh->do($_) for (
	'CREATE SCHEMA nexmark', 'CREATE TABLE nexmark.person (id int PRIMARY KEY, name text, email text, city text, state text, date_time timestamp)',
	'CREATE TABLE nexmark.auction (id int PRIMARY KEY, item_name text, description text, initial_bid int, reserve int, seller int, category int, date_time timestamp, expires timestamp)',
	'CREATE TABLE nexmark.bid (auction int, bidder int, price bigint, channel text, url text, date_time timestamp, bid_id bigserial PRIMARY KEY)',
	'CREATE INDEX ON nexmark.bid (auction)', 'CREATE INDEX ON nexmark.bid (bidder)', 'CREATE INDEX ON nexmark.auction (seller)', nexmark_events(50, 5000), 'ANALYZE');
my $w = make_workload($dbh, 'nexmark', @nexmark);
my $before = digests($dbh, $w);
is(join(' ', grep { $before->{$_} eq '' } sort keys %$before), '', 'Nexmark: every query has rows');
is($w->{failed}, '', 'no query fails to become a view but by a refusal');
is(wrong($dbh, $w), '', 'exact when they were made');
srand $seed;
my $next = 5050;
my %same = map { $_ => 1 } keys %$before;    # after each change so far; a maximum may come back
for my $cycle (1 .. 3)
{
	my $some = int rand 97;
	for (
		['events come', nexmark_events($next, 250)],
		['the oldest go', 'DELETE FROM nexmark.bid WHERE bid_id <= (SELECT min(bid_id) FROM nexmark.bid) + 100', "DELETE FROM nexmark.auction WHERE id < 100 * $cycle", "DELETE FROM nexmark.person WHERE id < 2 * $cycle"],
		['changes', "UPDATE nexmark.bid SET price = price + 9999 WHERE bid_id % 97 = $some", "UPDATE nexmark.auction SET reserve = reserve + 1, category = 10 + category % 5 WHERE id % 53 = $some % 53",
			"UPDATE nexmark.person SET city = 'Salem', state = 'OR' WHERE id % 29 = $some % 29", 'DELETE FROM nexmark.bid WHERE price >= (SELECT max(price) FROM nexmark.bid) - 10000',
			"UPDATE nexmark.bid SET auction = auction + 50, date_time = date_time + interval '5 hours' WHERE bid_id % 89 = $some"])
	{
		my ($what, @sql) = @$_;
		$dbh->begin_work;
		$dbh->do($_) for @sql;
		$dbh->commit;
		is(wrong($dbh, $w), '', "cycle $cycle: exact after: $what");
		my $now = digests($dbh, $w);
		delete $same{$_} for grep { $before->{$_} ne $now->{$_} } keys %same;
	}
	$next += 250;
}
is(inexact($dbh, 'nexmark', @{ $w->{names} }), '', 'check_view is empty');
is(by_whole($dbh, $w), '', 'by what has changed');
is(join(' ', sort keys %same), '', 'every query had other rows than before');
report($w);
cmp_ok(scalar @{ $w->{names} }, '>=', $must{nexmark}, @{ $w->{names} } . ' of ' . @nexmark . " are accepted, and $must{nexmark} must be");
$dbh->do("SELECT tapdata.drop_view('nexmark.$_')") for @{ $w->{names} };

# ---- CH-benCHmark ----

my ($warehouses, $districts, $customers, $items) = (2, 3, 40, 50);
$dbh->do($_) for (
	'CREATE SCHEMA ch', 'CREATE TABLE ch.warehouse (w_id int PRIMARY KEY, w_ytd numeric(12,2) NOT NULL)',
	'CREATE TABLE ch.district (d_w_id int, d_id int, d_ytd numeric(12,2) NOT NULL, d_next_o_id int NOT NULL, PRIMARY KEY (d_w_id, d_id))',
	'CREATE TABLE ch.customer (c_w_id int, c_d_id int, c_id int, c_last text, c_state char(2), c_balance numeric(12,2), c_payments int, PRIMARY KEY (c_w_id, c_d_id, c_id))',
	'CREATE TABLE ch.history (h_c_id int, h_c_d_id int, h_c_w_id int, h_amount numeric(6,2))',
	'CREATE TABLE ch.orders (o_w_id int, o_d_id int, o_id int, o_c_id int, o_carrier_id int, o_ol_cnt int, o_entry_d timestamp, PRIMARY KEY (o_w_id, o_d_id, o_id))',
	'CREATE TABLE ch.new_order (no_w_id int, no_d_id int, no_o_id int, PRIMARY KEY (no_w_id, no_d_id, no_o_id))',
	'CREATE TABLE ch.order_line (ol_w_id int, ol_d_id int, ol_o_id int, ol_number int, ol_i_id int, ol_delivery_d timestamp, ol_quantity int, ol_amount numeric(6,2), PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number))',
	'CREATE TABLE ch.stock (s_w_id int, s_i_id int, s_quantity int, s_ytd int, PRIMARY KEY (s_w_id, s_i_id))', 'CREATE INDEX ON ch.orders (o_w_id, o_d_id, o_c_id)',
	"INSERT INTO ch.warehouse SELECT i, 0 FROM generate_series(1, $warehouses) i", "INSERT INTO ch.district SELECT w_id, i, 0, 1 FROM ch.warehouse, generate_series(1, $districts) i",
	"INSERT INTO ch.customer SELECT d_w_id, d_id, i, 'last ' || i, (ARRAY['aa', 'ab', 'bc', 'ca'])[1 + i % 4], 0, 0 FROM ch.district, generate_series(1, $customers) i",
	"INSERT INTO ch.stock SELECT w_id, i, 100, 0 FROM ch.warehouse, generate_series(1, $items) i",
	# what the client draws comes as arguments: a transaction is repeated by its numbers
	q{CREATE FUNCTION ch.place(w int, d int, c int, n int, x int) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE o int; BEGIN
			UPDATE ch.district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = w AND d_id = d RETURNING d_next_o_id - 1 INTO o;
			INSERT INTO ch.orders VALUES (w, d, o, c, NULL, n, timestamp '2007-01-01' + x * interval '1 hour');
			INSERT INTO ch.new_order VALUES (w, d, o);
			INSERT INTO ch.order_line SELECT w, d, o, i, 1 + (x * i) % 50, NULL, 1 + (x + i) % 10, (1 + (x * 7 + i) % 900) / 10.0 FROM generate_series(1, n) i;
			UPDATE ch.stock SET s_quantity = s_quantity - 1, s_ytd = s_ytd + 1 WHERE s_w_id = w AND s_i_id = 1 + x % 50;
		END $$},
	q{CREATE FUNCTION ch.pay(w int, d int, c int, amount numeric) RETURNS void LANGUAGE sql AS $$
		UPDATE ch.warehouse SET w_ytd = w_ytd + amount WHERE w_id = w;
		UPDATE ch.district SET d_ytd = d_ytd + amount WHERE d_w_id = w AND d_id = d;
		UPDATE ch.customer SET c_balance = c_balance - amount, c_payments = c_payments + 1 WHERE c_w_id = w AND c_d_id = d AND c_id = c;
		INSERT INTO ch.history VALUES (c, d, w, amount) $$},
	q{CREATE FUNCTION ch.deliver(w int, d int, carrier int) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE o int; BEGIN
			DELETE FROM ch.new_order WHERE (no_w_id, no_d_id, no_o_id) IN (SELECT no_w_id, no_d_id, no_o_id FROM ch.new_order WHERE no_w_id = w AND no_d_id = d ORDER BY no_o_id LIMIT 1) RETURNING no_o_id INTO o;
			UPDATE ch.orders SET o_carrier_id = carrier WHERE o_w_id = w AND o_d_id = d AND o_id = o;
			UPDATE ch.order_line SET ol_delivery_d = timestamp '2007-02-01' + carrier * interval '1 day' WHERE ol_w_id = w AND ol_d_id = d AND ol_o_id = o;
			UPDATE ch.customer SET c_balance = c_balance + (SELECT sum(ol_amount) FROM ch.order_line WHERE ol_w_id = w AND ol_d_id = d AND ol_o_id = o)
				WHERE c_w_id = w AND c_d_id = d AND c_id = (SELECT o_c_id FROM ch.orders WHERE o_w_id = w AND o_d_id = d AND o_id = o);
		END $$});

sub tpcc
{
	my ($w, $d, $c) = map { 1 + int rand $_ } $warehouses, $districts, $customers;
	my $r = rand();
	return sprintf 'SELECT ch.place(%d, %d, %d, %d, %d)', $w, $d, $c, 1 + int rand 6, int rand 2000 if $r < 0.42;
	return sprintf 'SELECT ch.pay(%d, %d, %d, %.2f)', $w, $d, $c, rand 500 if $r < 0.75;
	return sprintf 'SELECT ch.deliver(%d, %d, %d)', $w, $d, 1 + int rand 9 if $r < 0.95;
	return sprintf "UPDATE ch.customer SET c_state = '%s' WHERE c_w_id = %d AND c_d_id = %d AND c_id = %d", (qw(aa ab bc ca))[rand 4], $w, $d, $c;
}

my $joined = "c_state LIKE 'a%' AND c_id = o_c_id AND c_w_id = o_w_id AND c_d_id = o_d_id AND no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id AND ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id";
my @ch = (
	['q3', "SELECT ol_o_id, ol_w_id, ol_d_id, sum(ol_amount) AS revenue, o_entry_d FROM ch.customer, ch.new_order, ch.orders, ch.order_line WHERE $joined AND o_entry_d > '2007-01-02' GROUP BY ol_o_id, ol_w_id, ol_d_id, o_entry_d"],
	['q1', "SELECT ol_number, sum(ol_quantity) AS sum_qty, sum(ol_amount) AS sum_amount, avg(ol_quantity) AS avg_qty, avg(ol_amount) AS avg_amount, count(*) AS count_order FROM ch.order_line WHERE ol_delivery_d > '2007-01-02' GROUP BY ol_number"],
	['q4', 'SELECT o_ol_cnt, count(*) AS order_count FROM ch.orders WHERE EXISTS (SELECT 1 FROM ch.order_line WHERE o_id = ol_o_id AND o_w_id = ol_w_id AND o_d_id = ol_d_id AND ol_delivery_d >= o_entry_d) GROUP BY o_ol_cnt'],
	['q13', 'SELECT c_count, count(*) AS custdist FROM (SELECT c_w_id, c_d_id, c_id, count(o_id) AS c_count FROM ch.customer LEFT JOIN ch.orders ON c_w_id = o_w_id AND c_d_id = o_d_id AND c_id = o_c_id AND o_carrier_id > 4
		GROUP BY c_w_id, c_d_id, c_id) c GROUP BY c_count'],
	['latest', 'SELECT DISTINCT ON (o_w_id, o_d_id, o_c_id) o_w_id, o_d_id, o_c_id, o_id, (SELECT jsonb_agg(l ORDER BY l.ol_number) FROM ch.order_line l WHERE ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id)::text AS lines
		FROM ch.orders ORDER BY o_w_id, o_d_id, o_c_id, o_id DESC']);

$dbh->do(tpcc()) for 1 .. 300;
my @writers = start_churn(sub { psql('postgres', fresh => 1) }, { statement => \&tpcc, truncate => sub { 'SELECT 1' } }, 2, seed => sub { seed_of($seed, @_) });
$dbh = psql('postgres');
my $c = make_workload($dbh, 'ch', @ch);    # created while they write
my ($until, $checks, $wrong) = (time + ($ENV{TD_CH_SECONDS} || 5), 0, '');
while (time < $until && !$wrong && @{ $c->{names} })
{
	my $v = $c->{names}[rand @{ $c->{names} }];
	$wrong = eval { wait_views($dbh, 'ch', $v); inexact($dbh, 'ch', $v) } // "error: $@";
	$checks++;
}
is($c->{failed}, '', 'CH: no query fails to become a view but by a refusal');
is($wrong, '', "CH: exact while writers run ($checks checks)");
stop_churn(@writers);
$dbh = psql('postgres');
$dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
is(wrong($dbh, $c), '', 'exact at the end');
is(inexact($dbh, 'ch', @{ $c->{names} }), '', 'and so says check_view');
is(by_whole($dbh, $c), '', 'by what has changed');
my $d = digests($dbh, $c);
is(join(' ', grep { $d->{$_} eq '' } sort keys %$d), '', 'every query has rows');
cmp_ok(value('postgres', 'SELECT sum(w_ytd) FROM ch.warehouse'), '==', value('postgres', 'SELECT coalesce(sum(h_amount), 0) FROM ch.history'), 'and the writers kept their books: ' . value('postgres', 'SELECT count(*) FROM ch.orders') . ' orders');
report($c);
cmp_ok(scalar @{ $c->{names} }, '>=', $must{ch}, @{ $c->{names} } . ' of ' . @ch . " are accepted, and $must{ch} must be");
finish();
done_testing();
