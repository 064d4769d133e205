import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** Runs one Elasticsearch node from its published jars until SIGTERM. Arguments: the home and the configuration folder. */
final class ElasticsearchLauncher {
    private static final int CLOSE_SECONDS = 15;

    public static void main(String[] arguments) throws Exception {
        // Before anything else: the first class that logs would find no logger.
        LogConfigurator.configureESLogging();
        Path config = Path.of(arguments[1]);
        Settings settings = Settings.builder()
            .loadFromPath(config.resolve("elasticsearch.yml"))
            .put(Environment.PATH_HOME_SETTING.getKey(), arguments[0])
            .build();
        Environment environment = new Environment(settings, config);
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(settings));
        LogConfigurator.registerErrorListener();
        LogConfigurator.configure(environment, true);
        var modules = PluginsLoader.loadModulesBundles(environment.modulesDir(), true);
        // false: the jars are on the class path, so the server is no Java module that could export anything.
        Node node = new Node(environment, PluginsLoader.createPluginsLoader(modules, Set.of(), Map.of(), false));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        new CountDownLatch(1).await();
    }

    private static void close(Node node) {
        try {
            node.prepareForClose();
            node.close();
            node.awaitClose(CLOSE_SECONDS, TimeUnit.SECONDS);
        } catch (Exception error) {
            error.printStackTrace();
        }
    }
}
