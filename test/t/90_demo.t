# The demo from start to stop, without a terminal: it ends by itself, both sides are equal, what it prints can be typed, nothing is left.
use strict;
use warnings;
use FindBin;
use Test::More;

my $top = "$FindBin::Bin/../..";
$ENV{TD_DEMO_NAME} = "demo-$$";
$ENV{TD_DEMO_SECONDS} = 3;
my $base = $ENV{TD_STATE} || '/var/tmp/tapdata-' . getpwuid($>);
END { my $rc = $?; system("$top/test/demo/stop --quiet") if $ENV{TD_DEMO_NAME}; $? = $rc }

my $out = `'$top/test/demo/start' 2>&1 </dev/null`;
is($?, 0, 'the demo ends well') or diag $out;
unlike($out, qr/\e|\r/, 'no terminal codes without a terminal');
like($out, qr/rows loaded and visible, in one commit/, 'the mirror was made');
is(scalar(() = $out =~ /^  \d\d:\d\d:\d\d .* order \d+: \w+ -> \w+ .*\d ms$/mg), 3, 'a line a second while rows change');
is(scalar(() = $out =~ / rows, digest .* equal$/mg), 4, 'four tables compared, and equal');
is(scalar(() = $out =~ /^  \d\d:\d\d:\d\d .* souvenirs sold: \d+ for [\d.]+ .*\d ms$/mg), 3, 'a line a second while the views change');
is(scalar(() = $out =~ /rows of the view compared: exact$/mg), 2, 'two views checked under load, and exact');
my ($psql) = $out =~ /^  (psql -h \S+ -p \d+ -U postgres demo)$/m;
ok($psql, 'the psql line is printed');
my @queries = $out =~ /^  (SELECT .*?;)(?:\s+--.*)?$/mg;
@queries = grep { !/create_connection|mirror\(|check_view/ } @queries;
is(scalar @queries, 7, 'and seven queries');
for my $q (@queries)
{
	local $ENV{TD_Q} = $q;
	my $rows = `printf '%s\n' "\$TD_Q" | $psql -X -At -v ON_ERROR_STOP=1 2>&1`;
	ok($? == 0 && $rows ne '', "works as typed: $q") or diag $rows;
}
# it goes on without us
my $count = sub { return `$psql -XAtc 'SELECT rows_applied FROM tapdata.pipelines' 2>&1` + 0 };
my ($before, $after) = ($count->(), 0);
for (1 .. 50) { last if ($after = $count->()) > $before; select undef, undef, undef, 0.2 }
cmp_ok($after, '>', $before, 'the load goes on, and so does the mirror');

my ($pid) = `cat '$base/demo-$ENV{TD_DEMO_NAME}/load.pid'` =~ /(\d+)/;
my @pids = ($pid, map { my $p = `'$top/test/servers/$_' pid '$ENV{TD_DEMO_NAME}'`; chomp $p; $p } qw(pg mariadb));
is(scalar(grep { -e "/proc/$_" } @pids), 3, 'load and both servers run');
is(system("'$top/test/demo/stop' >/dev/null"), 0, 'demo-stop');
my $there = sub { return grep { my $s = `cat /proc/$_/stat 2>/dev/null`; $s ne '' && $s !~ /\) Z / } @pids };
for (1 .. 50) { last if !$there->(); select undef, undef, undef, 0.1 }
is(join(' ', $there->()), '', 'none of them runs any more');
ok(!grep({ -e } "$base/demo-$ENV{TD_DEMO_NAME}", map { "$base/$_/$ENV{TD_DEMO_NAME}" } qw(pg mariadb)), 'no file is left');
done_testing();
