# The types of the fuzzer of views: what columns hold, and expressions, aggregates and window functions of each type.
#
# All of them raise no error on any data and give the same, digit for digit, by every plan.  In a template $type is an expression of
# it and $type:1 the same each time; $cond, $any (a column), $textcol (one of text: what an explicit collation elsewhere may overrule), $key (any key type); $F = maybe FILTER; $total = a total order; $P = PARTITION BY; $fn = a user function, $S = the schema, $row = a whole row.
package TdTypes;
use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(%values %sql_type %canonical %canonical_type @key_types %templates %aggregates %windows);

# What a column may hold: few values, so that rows meet.  dec has a fixed scale, floats add up in any order.
our %values = (
	int => [0 .. 3], num => ['1', '1.0', '1.00', '-2.5', '0.001', '3.50', '12345678901234567890', "'NaN'", "'Infinity'"], dec => ['0.10', '1.00', '-3.25', '7.00', '12.50'],
	text => ["'x'", "'y'", "''", "'X y'", "'xyz'"], date => ["'2026-01-01'", "'2026-02-28'", "'1999-12-31'"],
	ts => ["'2026-01-01 00:00:00'", "'2026-01-01 10:30:00'", "'2024-02-29 23:59:59.5'"], tz => ["'2026-01-01 00:00:00+00'", "'2026-03-29 01:30:00+00'", "'1999-12-31 23:59:59.25+02'"],
	bool => ['true', 'false'], uuid => [map { "'0000000$_-0000-4000-8000-000000000000'" } 1 .. 4], json => [q('{"k": 1, "t": ["x"]}'), q('[1, 2]'), q('null'), q('"s"'), q('{"k": null}')],
	ints => ["'{}'", "'{1,2}'", "'{3}'", "'{1,NULL,1}'"], float => ['0.5', '0.25', '-2', '3', "'NaN'"], span => ["'1 day'", "'2 hours'", "'1 mon'", "'-3 days'"],
	bytes => [q('\x'), q('\x00'), q('\xff01')], time => ["'10:30'", "'00:00'", "'23:59:59.5'"], mood => ["'sad'", "'ok'", "'happy'"], ip => ["'10.0.0.1'", "'10.0.0.0/8'", "'::1'"],
	texts => ["'{}'", "'{x,y}'", "'{NULL,x}'", q('{"X y"}')], range => ["'[1,4)'", "'empty'", "'(,3)'", "'[2,)'"], pair => ["'(1,x)'", "'(1,)'", "'(2,y)'", "'(,)'"],
	vc => ["'x'", "'xy'", "''", "'y '"], bp => ["'x'", "'xy'", "''", "'xyz9'"], cash => ["'1.00'", "'-2.50'", "'7.25'"], bits => ["'1010'", "'0001'", "'1111'"], raw => [q('{"k": 1}'), q('{"k":1}'), q('[1,  2]'), q('null')]);
our %sql_type = (int => 'int', num => 'numeric', dec => 'numeric(8,2)', text => 'text', date => 'date', ts => 'timestamp', tz => 'timestamptz', bool => 'boolean', uuid => 'uuid',
	json => 'jsonb', ints => 'int[]', float => 'float8', span => 'interval', bytes => 'bytea', doc => 'jsonb', list => 'text[]', gap => 'interval',
	time => 'time', mood => '$S.mood', ip => 'inet', texts => 'text[]', range => 'int4range', pair => '$S.pair', bits => 'bit(4)', bp => 'char(4)', vc => 'varchar(5)', cash => 'money', raw => 'json');
# A value that takes its place where equal values can look different (1.0 and 1.00, 24 hours and 1 day, numbers in jsonb).
our %canonical = (num => 'trim_scale(%s)', doc => '(%s)::text', list => '(%s)::text', gap => '(%s)::text', raw => '(%s)::text');
our %canonical_type = (num => 'num', doc => 'text', list => 'text', gap => 'text', raw => 'text');
our @key_types = qw(int int int text dec date bool uuid ts tz span bytes json ints float num time mood ip texts range pair bits bp vc cash raw);

our %templates = (
	int => ['($int + 1)', '($int % 5)', '(($int % 5) + ($int % 7))', 'coalesce($int, -1)', 'abs($int)', 'nullif($int, 1)', 'length($text)', 'cardinality($ints)', '($ints)[1]',
		'extract(day from $date)::int', '($date - $date)', 'CASE WHEN $cond THEN $int ELSE $int END', '($bool)::int', 'least($int, $int)', '$fn((($int) % 100)::int)',
		'($pair).p', 'lower($range)', 'masklen($ip)', "coalesce(array_length(\$texts, 1), 0)", 'num_nulls($any, $any)', 'extract(hour from $time)::int', 'get_bit($bits, 1)'],
	num => ['($num + 1)', 'round($num, 1)', 'coalesce($num, 0)', '($dec * 2)', '(($int % 10) + 0.50)', 'trim_scale($num)', 'CASE WHEN $cond THEN $num ELSE $dec END', 'greatest($num, $dec)'],
	dec => ['coalesce($dec, 0.00)', 'round($num, 2)', 'nullif($dec, 1.00)', '($dec + 1.25)'],
	text => ['upper($text)', "(left(\$text, 3) || '-')", "coalesce(\$text, 'none')", 'left($text, 2)', 'substr(md5($text), 1, 3)', "(\$json ->> 'k')", '($int)::text', '($date)::text', '($uuid)::text',
		"encode(\$bytes, 'hex')", 'jsonb_typeof($json)', 'CASE WHEN $cond THEN $text END', '($num)::text', "concat(\$int, '/', left(\$text, 2))", '($vc)::text', '(($text) COLLATE "C")', 'lower(($text) COLLATE "C")',
		"to_char(\$date, 'YYYY-MM')", '($mood)::text', 'host($ip)', '($texts)[1]', '($pair).q', '($range)::text', "array_to_string(\$texts, ',', '-')", '($time)::text', "(\$raw ->> 'k')",
		"regexp_replace(\$text, '[xy]', '-', 'g')", "coalesce(left(\$text, 4), '') || (\$int)::text", "(\$json #>> '{t,0}')", '($pair)::text'],
	date => ['($date + (($int) % 3)::int)', '($ts)::date', "coalesce(\$date, '2000-01-01')", 'greatest($date, $date)'],
	ts => ["date_trunc('month', \$ts)", "(\$ts + interval '1 day')", '($date)::timestamp', 'coalesce($ts, $ts)'],
	tz => ["coalesce(\$tz, '2026-01-01 00:00+00')", 'greatest($tz, $tz)', "(\$tz + interval '1 hour')"],
	bool => ['($cond)', '($bool IS TRUE)', 'coalesce($bool, false)'], uuid => ["coalesce(\$uuid, '00000001-0000-4000-8000-000000000000')", 'nullif($uuid, $uuid)'],
	json => ["(\$json -> 'k')", "coalesce(\$json, '{}')", "jsonb_build_object('a', (\$int), 't', left(\$text, 9))", 'to_jsonb($int)'],
	ints => ["coalesce(\$ints, '{}')", '($ints || 7)', 'array_remove($ints, 1)'], float => ['($float * 2)', '($float + 1)', 'coalesce($float, 0.5)', 'abs($float)'],
	span => ["coalesce(\$span, '1 day')"], bytes => [q{($bytes || '\x01')}, q{coalesce($bytes, '\x')}],
	time => ["coalesce(\$time, '12:00')", "(\$time + interval '1 hour')"], mood => ["coalesce(\$mood, 'ok')", 'greatest($mood, $mood)'], ip => ['coalesce($ip, $ip)', "network(\$ip)::inet"],
	texts => ["coalesce(\$texts, '{}')", "array_append(\$texts, left(\$text, 2))"], range => ["(\$range * '[0,3)')", "coalesce(\$range, 'empty')"], pair => ['ROW((($int) % 100)::int, left($text, 2))::$S.pair', 'coalesce($pair, $pair)'],
	bp => ['nullif($bp, $bp)'], vc => ['nullif($vc, $vc)', '($text)::varchar(5)'], cash => ['($cash + $cash)', 'coalesce($cash, 1::money)', '($cash * 2)'], bits => ['($bits | B\'0001\')', '(~ $bits)'], raw => ['coalesce($raw, $raw)', "json_build_object('a', \$int)"], doc => ["jsonb_build_object('n', \$num, 'k', \$json)", 'to_jsonb($num)', 'to_jsonb($row)', 'jsonb_build_array($any, $any)'],
	list => ['ARRAY[$text, $text]', 'ARRAY[($int)::text]'], gap => ['($ts - $ts)', "(\$span + interval '1 hour')"],
	cond => ['$int > 0', '$int = $int', '$int < 3', "\$text <> 'y'", '$num IS NULL', '$any IS NOT NULL', '$bool', 'NOT $bool', "\$date > '2000-01-01'", "\$json @> '{\"k\": 1}'", '$int IN (1, 2)',
		'$int NOT IN (1, 7)', '$int IS DISTINCT FROM $int', '1 = ANY ($ints)', "\$text LIKE 'x%'", '$ts <= $ts', '$float >= 0.5', "\$span < interval '2 days'", '$int BETWEEN 0 AND 2',
		'($int, $int) IN ((1, 1), (2, 0), (1, 2))', q{$bytes = '\x00'}, '($cond OR $cond)', 'NOT ($cond)', '($cond AND $cond)', '$dec > 0.5', '($int > 1) IS NOT FALSE', "\$text < 'xz'",
		'$uuid = $uuid', "\$tz > '2000-01-01 00:00+00'", 'CASE WHEN $cond THEN $int = 1 ELSE $int > 1 END',
		'($int, $text) IS NOT DISTINCT FROM ($int, $text)', '($int, $int) < ($int, 2)', "\$mood > 'sad'", "\$range @> 2", "\$ip << '10.0.0.0/8'", "'x' = ANY (\$texts)", '$pair = $pair', "\$time < '12:00'",
		"\$text ~ '^[xX]'", '$int = ANY (ARRAY[1, NULL, 3])', '$row IS NOT NULL', '($int = 1) IS UNKNOWN', '($text IS NULL) = ($int IS NULL)', "\$num = 'NaN'", '$any IS NOT DISTINCT FROM NULL',
		'$textcol < (($text) COLLATE "POSIX")', 'ROW($textcol, $int) <= ROW(($text) COLLATE "POSIX", 1)', '(($text) COLLATE "POSIX") = ANY (ARRAY[$textcol, $textcol])', 'length($textcol || (($text) COLLATE "POSIX")) > 2', '($vc)::text = $text']);

our %aggregates = (
	int => ['count(*)$F', 'count($any)$F', 'count(DISTINCT $key)$F', 'sum($int)$F', 'min($int)$F', 'max($int)$F', 'sum(DISTINCT $int)$F', 'mode() WITHIN GROUP (ORDER BY $int)$F',
		'percentile_disc(0.5) WITHIN GROUP (ORDER BY $int)$F', 'rank(1) WITHIN GROUP (ORDER BY (($int) % 1000)::int)$F', 'bit_or((($int) % 1000)::int)$F', 'bit_and((($int) % 1000)::int)$F',
		'bit_xor((($int) % 1000)::int)$F', 'regr_count($float, $int)$F', 'coalesce(sum($int), 0)', 'count(*) FILTER (WHERE $cond)', 'sum(CASE WHEN $cond THEN $int END)', 'min($int) + max($int)',
		'count(DISTINCT ($int, $text))$F', 'count($row)$F', 'dense_rank(1) WITHIN GROUP (ORDER BY (($int) % 1000)::int)$F', 'percentile_disc(0.9) WITHIN GROUP (ORDER BY $int DESC)$F', 'count(*) - count($any)',
		'sum($int) FILTER (WHERE $cond) - sum($int) FILTER (WHERE $cond)', 'max(length($text))$F', '(array_agg($int:1 ORDER BY $int:1))[1]'],
	num => ['sum($num)$F', 'avg($num)$F', 'avg($int)$F', 'avg($dec)$F', 'stddev($dec)$F', 'var_pop($int)$F', 'variance($num)$F', 'stddev_pop($int)$F', 'avg(DISTINCT $dec)$F', 'var_samp($dec)$F',
		'round(corr($float, $int)$F::numeric, 9)', 'round(regr_slope($float, $int)$F::numeric, 9)', 'round(covar_pop($int, $float)$F::numeric, 9)', 'round(avg($float)$F::numeric, 9)',
		'round((percentile_cont(0.5) WITHIN GROUP (ORDER BY $float)$F)::numeric, 9)', 'round(stddev($float)$F::numeric, 9)', 'sum($num * $dec)$F', 'max(trim_scale($num))$F',
		'round(cume_dist(1) WITHIN GROUP (ORDER BY (($int) % 1000)::int)$F::numeric, 9)', 'sum($int) / 2.0',
		'round(regr_intercept($float, $int)$F::numeric, 9)', 'round(regr_r2($int, $float)$F::numeric, 9)', 'regr_avgx($int, $int)$F::numeric(30,6)', 'round(regr_sxy($int, $float)$F::numeric, 9)', 'stddev_samp(DISTINCT $int)$F',
		'round(percent_rank(1) WITHIN GROUP (ORDER BY (($int) % 1000)::int)$F::numeric, 9)', 'sum(DISTINCT trim_scale($num))$F', 'round(covar_samp($float, $int)$F::numeric, 9)', 'avg($num) FILTER (WHERE $cond)', 'sum($dec) / nullif(count($dec), 0)'],
	dec => ['sum($dec)$F', 'min($dec)$F', 'max($dec)$F', 'sum(DISTINCT $dec)$F', 'percentile_disc(0.25) WITHIN GROUP (ORDER BY $dec)$F'],
	text => ['min($text)$F', 'max($text)$F', "string_agg(left(\$text:1, 3), ',' ORDER BY \$text:1)\$F", "string_agg(DISTINCT left(\$text:1, 3), ',' ORDER BY left(\$text:1, 3))\$F",
		'mode() WITHIN GROUP (ORDER BY $text)$F', 'range_agg(int4range((($int:1) % 10)::int, (($int:1) % 10)::int + 2))$F::text', 'json_agg($int:1 ORDER BY $int:1 DESC NULLS LAST)$F::text',
		'xmlagg(xmlelement(name x, $int:1) ORDER BY $int:1)$F::text', 'json_object_agg(coalesce(left($text:1, 3), \'-\'), $int:2 ORDER BY $text:1, $int:2)$F::text'],
	time => ['min($time)$F', 'max($time)$F'], mood => ['min($mood)$F', 'max($mood)$F', 'mode() WITHIN GROUP (ORDER BY $mood)$F'], ip => ['min($ip)$F', 'max($ip)$F'], texts => ['max($texts)$F', 'array_agg(left($text:1, 3) ORDER BY $text:1)$F'],
	bp => ['min($bp)$F', 'max($bp)$F'], cash => ['sum($cash)$F', 'max($cash)$F'], range => ['range_intersect_agg($range)$F'], bits => ['bit_and($bits)$F', 'bit_or($bits)$F'], pair => ['(array_agg($pair:1 ORDER BY $pair:1))[1]'],
	date => ['min($date)$F', 'max($date)$F', 'percentile_disc(0.5) WITHIN GROUP (ORDER BY $date)$F'], ts => ['min($ts)$F', 'max($ts)$F'], tz => ['min($tz)$F', 'max($tz)$F'], bool => ['bool_and($cond)$F', 'bool_or($cond)$F', 'every($bool)$F'],
	float => ['sum($float)$F', 'min($float)$F', 'max($float)$F'], span => ['min($span)$F', 'max($span)$F'], gap => ['sum($span)$F', 'avg($span)$F'],
	bytes => [q{string_agg($bytes:1, '\x2c' ORDER BY $bytes:1)$F}], ints => ['array_agg((($int:1) % 1000)::int ORDER BY (($int:1) % 1000)::int)$F'],
	list => ['array_agg($int:1 ORDER BY $int:1)$F::text[]', 'array_agg(DISTINCT ($key:1)::text ORDER BY ($key:1)::text)$F', 'array_agg($num:1 ORDER BY $num:1, scale($num:1))$F::text[]'],
	doc => ['jsonb_agg($key:1 ORDER BY $key:1)$F', "jsonb_object_agg(coalesce(left(\$text:1, 3), '-'), \$int:2 ORDER BY \$text:1, \$int:2)\$F", 'jsonb_agg(DISTINCT $int:1)$F', 'to_jsonb(array_agg(DISTINCT ($key:1)::text))'],
	having => ['count(*) > 1', 'sum($int) > 2', 'max($int) IS NOT NULL', 'count(DISTINCT $key) < 4', 'bool_or($cond)', 'avg($dec) > 1', 'NOT count(*) = 3', "min(\$text) < 'y'", 'ROW(min($textcol), 1) < ROW((max($text)) COLLATE "POSIX", 2)', 'max(($text) COLLATE "C") > min($textcol)']);

our %windows = (
	int => ['row_number() OVER ($P ORDER BY $total)', 'rank() OVER ($P ORDER BY $key)', 'dense_rank() OVER ($P ORDER BY $key DESC NULLS LAST)', 'ntile(2) OVER ($P ORDER BY $total)', 'lag($int) OVER ($P ORDER BY $total)',
		'lead($int, 2, -5) OVER ($P ORDER BY $total)', 'first_value($int) OVER ($P ORDER BY $total)', 'last_value($int) OVER ($P ORDER BY $total)', 'nth_value($int, 2) OVER ($P ORDER BY $total)',
		'sum($int) OVER ($P)', 'sum($int) OVER ($P ORDER BY $key)', 'count(*) OVER ($P)', 'count(*) FILTER (WHERE $cond) OVER ($P ORDER BY $key)', 'max($int) OVER ($P)',
		'sum($int) OVER ($P ORDER BY $int RANGE BETWEEN 1 PRECEDING AND CURRENT ROW)', 'count($any) OVER ($P ORDER BY $key GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW)',
		'sum($int) OVER ($P ORDER BY $total ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)', 'count(*) OVER ($P ORDER BY $date RANGE BETWEEN \'1 day\' PRECEDING AND \'2 mons\' FOLLOWING)',
		'max($int) OVER ($P ORDER BY $key GROUPS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE TIES)', 'min($int) OVER ($P ORDER BY $total ROWS BETWEEN 2 FOLLOWING AND 4 FOLLOWING)',
		'sum($int) OVER ($P ORDER BY $key GROUPS UNBOUNDED PRECEDING EXCLUDE GROUP)', 'first_value($int) OVER ($P ORDER BY $total ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)', 'nth_value($int, 2) OVER ($P ORDER BY $total RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)',
		'row_number() OVER ($P ORDER BY $total) - rank() OVER ($P ORDER BY $key)', 'lag($int, 2) OVER ($P ORDER BY $total) + $int'],
	num => ['avg($dec) OVER ($P ORDER BY $total ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)', 'round((percent_rank() OVER ($P ORDER BY $key))::numeric, 9)', 'sum($num) OVER ($P)', 'avg($int) OVER ($P)',
		'round((cume_dist() OVER ($P ORDER BY $key))::numeric, 9)',
		'sum($num) OVER ($P ORDER BY $total ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW)'],
	text => ['lag(left($text, 5)) OVER ($P ORDER BY $total)', 'min($text) OVER ($P)', "string_agg(left(\$text, 2), ',') OVER (\$P ORDER BY \$total)"], date => ['max($date) OVER ($P)', 'lead($date) OVER ($P ORDER BY $total)'],
	dec => ['sum($dec) OVER ($P ORDER BY $total ROWS UNBOUNDED PRECEDING)', 'max($dec) OVER ($P)'], bool => ['bool_or($cond) OVER ($P)'], float => ['sum($float) OVER ($P)'],
	list => ['(array_agg($int) OVER ($P ORDER BY $total ROWS 2 PRECEDING))::text[]']);

1;
