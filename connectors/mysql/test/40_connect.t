# Connecting, rights and settings: each thing that is wrong has its own SQLSTATE and a hint that mends it.
use strict;
use warnings;
use FindBin qw($Bin);
use lib $Bin;
use IO::Socket::INET;
use IO::Socket::UNIX;
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(time);
use Source;

server('mysql_connect');
sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(20)); INSERT INTO t VALUES (1, 'a');");

# The error of a command, or all its lines.
sub says { return join(' ', drive(@_)); }

# ---- connecting ----
like(says({ password => 'wrong' }, 'check'), qr/^ERROR 28P01 Access denied .* HINT Check user and password/, 'wrong password');
unlike(says({ password => 'wrongsecret' }, 'check'), qr/wrongsecret/, 'no password in an error');
like(says({ user => 'nobody_here' }, 'check'), qr/^ERROR 28P01 /, 'unknown user');
like(says({ user => undef }, 'check'), qr/^ERROR 22023 option "user" is missing .*credentials/, 'no user');
like(says({ database => 'nowhere' }, 'check'), qr/^ERROR (3D000|42501) .* HINT \S/, 'unknown database');
like(says({ database => 'nowhere', user => $env{REPL_USER}, password => $env{REPL_PASSWORD} }, 'check'), qr/^ERROR 3D000 Unknown database 'nowhere'.* HINT \S/, 'unknown database, known to be so');
like(says({ port => 1 }, 'check'), qr/^ERROR 08001 retryable .* HINT Check that a server listens at 127.0.0.1, port 1/, 'nobody listens');
like(says({ host => 'no.such.host.invalid', connect_timeout => 5 }, 'check'), qr/^ERROR 08001 retryable .* HINT The name "no\.such\.host\.invalid" does not resolve/, 'unknown host');
like(says({ socket => '/nowhere/m.sock' }, 'check'), qr/^ERROR 08001 retryable /, 'no socket there');
like(says({ socket => $env{MYSOCKET} }, 'position'), qr/^0-/, 'by socket') if -r $env{MYSOCKET} && -w $env{MYSOCKET};
like(says({ host => 'localhost' }, 'position'), qr/^0-/, 'localhost means TCP');
for my $bad (['port', 0], ['port', 'x'], ['connect_timeout', -1], ['chunk_rows', 3], ['ssl_mode', 'maybe'], ['cascades', 'sometimes'], ['server_id', '4294967296'])
{
	my ($name, $value) = @$bad;
	my $text = says({ $name => $value }, 'position');
	like($text, qr/^ERROR 22023 invalid value for option "$name": "\Q$value\E" .* HINT \S/, "$name $value");
}
like(says({ ssl_mode => 'verify_ca' }, 'check'), qr/^ERROR 22023 option "ssl_ca" is missing/, 'verify_ca wants an authority');
like(says({ ssl_cert => '/x' }, 'check'), qr/^ERROR 22023 options "ssl_cert" and "ssl_key"/, 'certificate without key');
like(says({ ssl_mode => 'require' }, 'check'), qr/^ERROR 08004 .*TLS.* HINT \S/, 'TLS asked for and not there');

# ---- hosts that say nothing ----
my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die;
my $start = time();
like(says({ port => $silent->sockport, connect_timeout => 2 }, 'check'), qr/^ERROR 08001 retryable no answer from "127.0.0.1" within 2 s/, 'a host that accepts and is silent');
cmp_ok(time() - $start, '<', 3.5, 'within connect_timeout');
my $full = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die;
my @fill = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $full->sockport, Blocking => 0) } 1 .. 8;
$start = time();
like(says({ port => $full->sockport, connect_timeout => 2 }, 'check'), qr/^ERROR 08001 retryable /, 'a black hole');
cmp_ok(time() - $start, '<', 3.5, 'within connect_timeout');

# ---- check: all in order ----
my @items = drive({}, 'check');
is(scalar(grep { !/\| ok \|/ } @items), 0, 'a well-set source passes') or diag(join("\n", @items));
for my $item ('connection', 'binary log', 'binlog_format', 'binlog_row_image', 'gtid', 'log_slave_updates', 'grant: replication slave', 'grant: binlog monitor', 'grant: select', 'server_id', 'binlog retention', 'binlog filters', 'clock')
{
	is(scalar(grep { /^\Q$item\E \| / } @items), 1, "item $item");
}
sub item { my ($options, $item) = @_; return join("\n", grep { /^\Q$item\E/ } drive($options, 'check')); }

# ---- rights ----
sql("CREATE USER 'o''brien'\@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT ON shop.t TO 'o''brien'\@'127.0.0.1'; CREATE USER half\@'%' IDENTIFIED BY 'x'; GRANT SELECT ON shop.* TO half\@'%'; GRANT BINLOG MONITOR ON *.* TO half\@'%'; CREATE USER all_of_it\@'%' IDENTIFIED BY 'x'; GRANT ALL ON *.* TO all_of_it\@'%'");
my %poor = (user => "o'brien", password => 'x');
my %half = (user => 'half', password => 'x');
like(item(\%poor, 'grant: replication slave'), qr/NOT OK .* GRANT REPLICATION SLAVE ON \*\.\* TO 'o\\?'?'brien'\@'127\.0\.0\.1';/, 'check names the GRANT of replication slave');
like(item(\%poor, 'grant: binlog monitor'), qr/NOT OK .*GRANT BINLOG MONITOR ON \*\.\* TO/, 'and of binlog monitor');
like(item(\%poor, 'grant: select'), qr/NOT OK .*GRANT SELECT ON `shop`\.\* TO/, 'and of select');
is(scalar(grep { /^grant.*NOT OK/ } drive({ user => 'all_of_it', password => 'x' }, 'check')), 0, 'ALL PRIVILEGES are enough');
like(says(\%poor, 'position'), qr/^ERROR 42501 .* HINT At the source: GRANT REPLICATION SLAVE, BINLOG MONITOR ON \*\.\* TO 'o\\?'?'brien'\@'127\.0\.0\.1';/, 'position without the right');
like(says(\%poor, 'stream', '', 1, 'shop.t'), qr/^ERROR 42501 .*GRANT REPLICATION SLAVE, BINLOG MONITOR ON/, 'stream without the right');
like(says(\%half, 'stream', '', 1, 'shop.t'), qr/^ERROR 42501 .*GRANT REPLICATION SLAVE, BINLOG MONITOR ON \*\.\* TO 'half'\@'%';/, 'stream without one of the rights');
sql("CREATE USER stranger\@'%' IDENTIFIED BY 'x'");
like(says({ user => 'stranger', password => 'x' }, 'check'), qr/^ERROR 42501 .*GRANT SELECT ON `shop`\.\* TO/, 'no right on the database at all');
like(says({ user => 'stranger', password => 'x', database => undef }, 'snapshot', 'shop', 't'), qr/^ERROR 42P01 .*GRANT SELECT/, 'no right on the table');

# ---- settings ----
for my $setting (['binlog_format', 'STATEMENT'], ['binlog_format', 'MIXED'], ['binlog_row_image', 'MINIMAL'], ['binlog_row_image', 'NOBLOB'])
{
	my ($name, $value) = @$setting;
	my $was = $name eq 'binlog_format' ? 'ROW' : 'FULL';
	sql("SET GLOBAL $name = $value");
	like(item({}, $name), qr/NOT OK \| $value \| .*SET GLOBAL $name = '$was'/, "check: $name $value");
	like(says({}, 'stream', '', 1, 'shop.t'), qr/^ERROR 55000 $name of the source is not $was DETAIL .*$value.* HINT .*SET GLOBAL $name = '$was'/, "stream: $name $value");
	sql("SET GLOBAL $name = $was");
}
sql("SET GLOBAL binlog_expire_logs_seconds = 600");
like(item({}, 'binlog retention'), qr/NOT OK \| kept for 0.2 hours \| .*SET GLOBAL binlog_expire_logs_seconds/, 'check: a binlog that is kept too short');
sql("SET GLOBAL binlog_expire_logs_seconds = 0");
like(item({ server_id => $env{MYPORT} }, 'server_id'), qr/NOT OK/, 'check: the server_id of the source itself');
like(says({ server_id => 4711 }, 'stream', position(), 0.2, 'shop.t'), qr/^STREAMING/, 'a server_id of our own');
{
	my ($first) = background({ server_id => 4712 }, 'stream', position(), 20, 'shop.t');
	my $deadline = time() + 10;
	while (time() < $deadline && !rows("SELECT 1 FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")) { select(undef, undef, undef, 0.1) }
	like(says({ server_id => 4712 }, 'stream', position(), 2, 'shop.t'), qr/^STREAMING/, 'a second reader of the same server_id');
	like(join(' ', <$first>), qr/ERROR 55000 .*same server_uuid\/server_id.* HINT Another reader of the source has server_id 4712.*tapdata\.alter_connection/s, 'ends the first, which says so');
}

# ---- TLS ----
SKIP:
{
	skip 'openssl is missing', 9 if system('command -v openssl >/dev/null') != 0;
	my $dir = tempdir(CLEANUP => 1);
	chmod 0755, $dir;
	my $made = system("cd $dir && (openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.pem -subj /CN=testca && openssl req -newkey rsa:2048 -nodes -keyout s.key -out s.csr -subj /CN=127.0.0.1 && openssl x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out s.pem && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout other.key -out other.pem -subj /CN=other && chmod 644 *) >/dev/null 2>&1");
	BAIL_OUT('openssl failed') if $made;
	restart_server("--ssl-ca=$dir/ca.pem", "--ssl-cert=$dir/s.pem", "--ssl-key=$dir/s.key");
	like(item({}, 'connection'), qr/TLS_|ECDHE|AES/, 'prefer takes TLS where it is');
	like(item({ ssl_mode => 'disable' }, 'connection'), qr/without TLS/, 'disable does not');
	like(item({ ssl_mode => 'require' }, 'connection'), qr/TLS_|ECDHE|AES/, 'require');
	like(item({ ssl_mode => 'verify_ca', ssl_ca => "$dir/ca.pem" }, 'connection'), qr/TLS_|ECDHE|AES/, 'verify_ca');
	like(item({ ssl_mode => 'verify_identity', ssl_ca => "$dir/ca.pem" }, 'connection'), qr/TLS_|ECDHE|AES/, 'verify_identity');
	like(says({ ssl_mode => 'verify_ca', ssl_ca => "$dir/other.pem" }, 'check'), qr/^ERROR 08004 .* HINT Check ssl_mode/, 'an authority that did not sign it');
	like(says({ ssl_mode => 'verify_identity', ssl_ca => "$dir/ca.pem", host => 'localhost' }, 'check'), qr/^ERROR 08004/, 'another name than the host\'s');
	like(says({ ssl_mode => 'verify_ca', ssl_ca => "$dir/ca.pem", host => 'localhost' }, 'position'), qr/^0-/, 'verify_ca does not look at names');
	sql("CREATE TABLE big (id int PRIMARY KEY, v varchar(2000)); INSERT INTO big SELECT seq, REPEAT(CHAR(65 + seq MOD 26), seq MOD 2000) FROM seq_1_to_20000; INSERT INTO big VALUES (0, '')");
	my @plain = drive_ok({ ssl_mode => 'disable' }, 'snapshot', 'shop', 'big');
	my @tls = drive_ok({ ssl_mode => 'require' }, 'snapshot', 'shop', 'big');
	is(scalar(@tls), scalar(@plain), 'a load by TLS');
	ok(join("\n", @tls) eq join("\n", @plain), 'the same as without');
	my $from = position();
	sql("UPDATE big SET v = CONCAT(v, 'x')");
	my $to = position();
	my @streamed = drive_ok({ ssl_mode => 'require' }, 'stream', $from, 3, "to=$to", 'shop.big');
	is(scalar(grep { /^UPDATE/ } @streamed), 20001, 'a stream by TLS');
	ok(join("\n", @streamed) eq join("\n", drive_ok({ ssl_mode => 'disable' }, 'stream', $from, 3, "to=$to", 'shop.big')), 'the same as without');
	my ($f, $pid) = background({ ssl_mode => 'require' }, 'stream', $to, 20, 'shop.big');
	while (my $l = <$f>) { last if $l =~ /^STREAMING/ }
	$start = time();
	sql("DELETE FROM big WHERE id = 0");
	while (my $l = <$f>) { last if $l =~ /^COMMIT/ }
	cmp_ok(time() - $start, '<', 0.5, 'a change arrives at once');
	my ($id) = map { $_->[0] } rows("SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'");
	sql("KILL $id");
	like(join(' ', <$f>), qr/ERROR \w+ retryable/, 'a killed stream by TLS');
	close $f;
}

# ---- no binlog ----
restart_server('--skip-log-bin');
like(item({}, 'binary log'), qr/NOT OK \| off \| .*log_bin/, 'check: no binary log');
like(says({}, 'stream', '', 1, 'shop.t'), qr/^ERROR 55000 the source writes no binary log .* HINT Set log_bin/, 'stream: no binary log');
like(says({}, 'position'), qr/^ERROR 55000 the source writes no binary log/, 'position: no binary log');
done_testing();
