# Conditions that cost come after probes (src/view/analyze/keyed_late.c): how often a tick computes a correlated sum, counted by a function in it that writes into the server's log.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $pg = start_server('late');
sub calls { open my $log, '<', $pg->{TD_PG_LOG} or die "log: $!"; return scalar grep { /LOG:  counted/ } <$log> }
execute('postgres', 'CREATE DATABASE shop');
execute('shop', $_) for 'CREATE EXTENSION tapdata',
	q{CREATE FUNCTION counted(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE LOG ''counted''; RETURN $1; END'},
	'CREATE TABLE part (id int PRIMARY KEY, name text NOT NULL)', 'CREATE TABLE stock (shop int, part int, n int, PRIMARY KEY (shop, part))',
	'CREATE TABLE sold (id serial PRIMARY KEY, shop int, part int, n int)', 'CREATE INDEX ON sold (part, shop)', 'CREATE INDEX ON sold (shop)',
	'CREATE TABLE shop (id int PRIMARY KEY, name text NOT NULL)', 'CREATE TABLE named (part int, name text)', 'CREATE INDEX ON named (part)',
	q{INSERT INTO part SELECT i, CASE WHEN i % 20 = 0 THEN 'rare' ELSE 'other' END FROM generate_series(1, 5000) i}, 'INSERT INTO named SELECT id, name FROM part, generate_series(1, 3)',
	q{INSERT INTO shop SELECT i, 'shop ' || i FROM generate_series(1, 50) i}, 'INSERT INTO stock SELECT s, 40 * s + p, p FROM generate_series(1, 50) s, generate_series(1, 40) p',
	'INSERT INTO sold (shop, part, n) SELECT shop, part, 1 + n % 20 FROM stock, generate_series(1, 5)', 'ANALYZE';

# Calls in the tick of a change of this shop: the least of some, since a tick may compute the whole view, to see what that takes.
my $few = sub
{
	my ($shop) = @_;
	my @calls;
	for (1 .. 5)
	{
		my $before = calls();
		execute('shop', qq{UPDATE shop SET name = 'new ' || name WHERE id = $shop}, q{SELECT tapdata.wait_view('found')});
		push @calls, calls() - $before;
	}
	return (sort { $a <=> $b } @calls)[0];
};

# how the rows of stock are reduced; is that one probe
my @cases = (
	[q{part IN (SELECT id FROM part WHERE name = 'rare')}, 1], [q{EXISTS (SELECT FROM part p WHERE p.name = 'rare' AND p.id = stock.part)}, 1],
	[q{EXISTS (SELECT FROM part p WHERE p.name = 'rare' AND p.id + 0 = stock.part)}, 0], [q{part IN (SELECT part FROM named WHERE name = 'rare')}, 0]);
for (@cases)
{
	my ($condition, $late) = @$_;
	psql('shop')->do(q{SELECT tapdata.create_view('found', $1)}, undef,
		"SELECT id, name FROM shop WHERE id IN (SELECT shop FROM stock WHERE $condition AND n > (SELECT sum(counted(o.n)) FROM sold o WHERE o.part = stock.part AND o.shop = stock.shop))");
	execute('shop', q{SELECT tapdata.wait_view('found')});
	is(value('shop', q{SELECT strategy FROM tapdata.views}), 'keyed', "keyed: $condition");
	# a shop that is not found now, so that none of its rows ends the search
	execute('shop', 'UPDATE stock SET n = -1 WHERE shop = 20', q{SELECT tapdata.wait_view('found')});
	my ($calls, $sold) = ($few->(20), value('shop', 'SELECT count(*) FROM sold WHERE shop = 20'));
	if ($late) { cmp_ok($calls, '<', $sold / 5, "sums only where the other condition holds: $calls calls for $sold rows") }
	else { cmp_ok($calls, '>=', $sold, "what is no probe by a key comes in the planner's order: $calls calls for $sold rows") }
	execute('shop', 'UPDATE stock SET n = 1000 WHERE shop IN (3, 20) AND part % 40 = 0', q{UPDATE part SET name = 'other' WHERE id = 820}, 'DELETE FROM sold WHERE part = 160', q{SELECT tapdata.wait_view('found')});
	is(rows('shop', q{SELECT * FROM tapdata.check_view('found')}), '', 'exact');
	cmp_ok(value('shop', 'SELECT count(*) FROM found'), '>', 0, 'with rows');
	execute('shop', q{SELECT tapdata.drop_view('found')});
}
finish();
done_testing();
