# One source transaction of 1 M row changes, a third each insert, update and delete, on a table of 1 M rows: from the moment
# COMMIT returned to wait_pipeline returned; against psql \copy of the table's 1 M rows, without and with a primary key.
#
# The rows stand in four classes by id % 4, three of them present.  Round r deletes class r, updates r + 1, inserts r + 3:
# every round changes as many rows of a table that stays as large.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server maria_server drop_server pg maria turns timed rounds row wait_status catch_up connection fresh make_items
	item_columns run_shell);

my $last = 1_333_336;
my ($pg, $my) = (pg_server('bench'), maria_server('bench'));
my ($p, $m) = (pg($pg), maria($my));
make_items($m, $last, 'seq % 4 IN (1, 2, 3)');
connection($p, $my);
$p->do(q{SELECT tapdata.mirror('src', ARRAY['items'], into_schema => 'mirrored', name => 'load')});
wait_status($p, 'load', 'streaming');
$p->do('SET client_min_messages = warning');
my $file = "/tmp/tapdata-bench-copy.$$";
my $psql = "$pg->{TD_PG_BIN}/psql -qX -h $pg->{PGHOST} -p $pg->{PGPORT} -U postgres postgres";
run_shell("$psql -c '\\copy mirrored.items to $file'");

sub ours
{
	my ($round) = @_;
	my ($gone, $changed, $new) = map { ($round + $_) % 4 } 0, 1, 3;
	fresh($p);
	$m->do('SET autocommit = 0');
	my $rows = 0;
	$rows += $m->do("INSERT INTO items SELECT " . item_columns('seq') . " FROM seq_1_to_$last WHERE seq % 4 = $new");
	$rows += $m->do("UPDATE items SET n = n + 1, note = reverse(note) WHERE id % 4 = $changed");
	$rows += $m->do("DELETE FROM items WHERE id % 4 = $gone");
	die "$rows rows changed\n" if $rows < 1_000_000;
	$m->do('COMMIT');
	my $t = timed(sub { catch_up($p, 'load') });
	$m->do('SET autocommit = 1');
	compare();
	return $t;
}

# Sums over both sides: a fast wrong answer is none.
sub compare
{
	my $sql = 'SELECT count(*), sum(id), sum(n), sum(price), sum(%s), min(note), max(note) FROM %s';
	my $here = join ' ', $p->selectrow_array(sprintf $sql, "extract(epoch FROM made)::bigint % 86400", 'mirrored.items');
	my $there = join ' ', $m->selectrow_array(sprintf $sql, "timestampdiff(second, '1970-01-01', made) % 86400", 'items');
	die "the sides differ: $here, source $there\n" if $here ne $there;
	return;
}

sub copy
{
	my ($key) = @_;
	$p->do('DROP TABLE IF EXISTS public.copied');
	$p->do('CREATE TABLE public.copied (LIKE mirrored.items)');
	$p->do('ALTER TABLE public.copied ADD PRIMARY KEY (id)') if $key;
	fresh($p);
	return timed(sub { run_shell("$psql -c '\\copy public.copied from $file'") });
}

my $t = eval { turns(rounds(5), ours => \&ours, 'COPY' => sub { copy(0) }, 'COPY, with key' => sub { copy(1) }) };
my $error = $@;
unlink $file;
die $error if !$t;
my $ratio = $t->{ours} / $t->{COPY};
row('one source transaction of 1 M row changes, against COPY', sprintf('%.2f times its time', $ratio), '<= 4', $ratio <= 4,
	sprintf('ours %.2f s; \copy of 1 M such rows %.2f s without a key (%.2f s into a table with its primary key: %.2f times)',
		$t->{ours}, $t->{COPY}, $t->{'COPY, with key'}, $t->{ours} / $t->{'COPY, with key'}));
$_->disconnect for $p, $m;
drop_server($_, 'bench') for qw(pg mariadb);
