// SPDX-License-Identifier: Apache-2.0
// jetcd against a running server: java -cp <jetcd> Smoke.java http://127.0.0.1:2379
import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

public class Smoke {
    static int passed = 0;

    static ByteSequence b(String s) {
        return ByteSequence.from(s, UTF_8);
    }

    static <T> T get(CompletableFuture<T> f) throws Exception {
        return f.get(15, TimeUnit.SECONDS);
    }

    static void check(String name, boolean holds) {
        if (!holds) {
            System.err.println("FAIL " + name);
            System.exit(1);
        }
        passed++;
    }

    public static void main(String[] args) throws Exception {
        try (Client client = Client.builder().endpoints(args[0]).build()) {
            KV kv = client.getKVClient();
            get(kv.delete(b("\0"), DeleteOption.builder().withRange(b("\0")).build()));
            get(kv.put(b("a"), b("1")));
            check("previous", get(kv.put(b("a"), b("2"), PutOption.builder().withPrevKV().build())).getPrevKv().getValue().equals(b("1")));
            for (int i = 0; i < 10; i++)
                get(kv.put(b("p/" + i), b("" + (9 - i))));
            GetResponse r = get(kv.get(b("p/"), GetOption.builder().isPrefix(true).withSortField(GetOption.SortTarget.VALUE)
                .withSortOrder(GetOption.SortOrder.DESCEND).withLimit(3).build()));
            check("range", r.getCount() == 10 && r.isMore() && r.getKvs().get(0).getKey().equals(b("p/0")));
            TxnResponse t = get(kv.txn().If(new Cmp(b("a"), Cmp.Op.EQUAL, CmpTarget.value(b("2"))))
                .Then(Op.put(b("t"), b("yes"), PutOption.DEFAULT), Op.get(b("a"), GetOption.DEFAULT)).Else(Op.delete(b("a"), DeleteOption.DEFAULT)).commit());
            check("txn", t.isSucceeded() && t.getGetResponses().get(0).getKvs().get(0).getValue().equals(b("2")));

            BlockingQueue<String> seen = new LinkedBlockingQueue<>();
            Watch.Listener listener = Watch.listener(w -> w.getEvents().forEach(e -> seen.add(e.getEventType() + " " + e.getKeyValue().getKey())));
            try (Watch.Watcher w = client.getWatchClient().watch(b("w/"), WatchOption.builder().isPrefix(true).withRevision(t.getHeader().getRevision() + 1).build(), listener)) {
                get(kv.put(b("w/1"), b("x")));
                get(kv.delete(b("w/1")));
                check("watch put", "PUT w/1".equals(seen.poll(10, TimeUnit.SECONDS)));
                check("watch delete", "DELETE w/1".equals(seen.poll(10, TimeUnit.SECONDS)));
            }

            long lease = get(client.getLeaseClient().grant(2)).getID();
            get(kv.put(b("leased"), b("1"), PutOption.builder().withLeaseId(lease).build()));
            AtomicInteger renewed = new AtomicInteger();
            CloseableClient alive = client.getLeaseClient().keepAlive(lease, new StreamObserver<LeaseKeepAliveResponse>() {
                public void onNext(LeaseKeepAliveResponse answer) {
                    renewed.incrementAndGet();
                }
                public void onError(Throwable error) {
                    error.printStackTrace();
                }
                public void onCompleted() {
                }
            });
            Thread.sleep(4000);
            check("kept alive", renewed.get() >= 2 && get(kv.get(b("leased"))).getCount() == 1);
            check("keys of a lease", get(client.getLeaseClient().timeToLive(lease, LeaseOption.builder().withAttachedKeys().build())).getKeys().equals(List.of(b("leased"))));
            alive.close();
            get(client.getLeaseClient().revoke(lease));
            check("revoked", get(kv.get(b("leased"))).getCount() == 0);

            check("status", get(client.getMaintenanceClient().statusMember(args[0])).getVersion().equals("3.7.1"));
            check("members", get(client.getClusterClient().listMember()).getMembers().size() == 1);
            get(kv.compact(t.getHeader().getRevision()));
            try {
                get(kv.get(b("a"), GetOption.builder().withRevision(2).build()));
                check("compacted", false);
            } catch (Exception e) {
                check("compacted", e.getMessage().contains("compacted"));
            }
        }
        System.out.println(passed + " checks");
        System.exit(0);
    }
}
