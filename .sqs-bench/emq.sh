# usage: emq.sh "<jvm opts>" <storage uri or none> args...
D=$(mktemp -d /tmp/emqXXXX); P=19555
cat > $D/c.conf <<C
include classpath("application.conf")
node-address { protocol = http, host = "127.0.0.1", port = $P, context-path = "" }
rest-sqs { enabled = true, bind-port = $P, bind-hostname = "127.0.0.1", sqs-limits = strict }
rest-stats { enabled = false }
C
[ "$2" != none ] && echo "messages-storage { enabled = true, uri = \"jdbc:h2:file:$D/m;$2\" }" >> $D/c.conf
java -Xmx256m $1 -Dconfig.file=$D/c.conf -cp "$HOME/.cache/waybill/elasticmq-1.7.1/libs/*" org.elasticmq.server.Main > $D/log 2>&1 & J=$!
sleep 5
sed -e "s#const s = await startServer.*#const s = { env: { SQS_ENDPOINT: 'http://127.0.0.1:$P' }, pids: [$J], dispose: async () => {} };#" .sqs-bench/bench.mjs > .sqs-bench/bench2.mjs
node_modules/.bin/node .sqs-bench/bench2.mjs x $3 $4
kill $J; wait $J 2>/dev/null; rm -rf $D
