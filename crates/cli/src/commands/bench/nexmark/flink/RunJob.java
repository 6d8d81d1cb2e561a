import java.nio.file.Files;
import java.nio.file.Path;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;

/** Runs a script's statements on an embedded Flink and waits for its jobs. Arguments: the script, then KEY=VALUE settings. */
public final class RunJob {
    public static void main(String[] arguments) throws Exception {
        try {
            run(arguments);
        } catch (Throwable error) {
            Throwable cause = error;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            System.err.println(cause);
            Runtime.getRuntime().halt(1);
        }
        // Threads of the embedded cluster would keep the process for a while.
        System.exit(0);
    }

    private static void run(String[] arguments) throws Exception {
        Configuration settings = new Configuration();
        for (int i = 1; i < arguments.length; i++) {
            String[] setting = arguments[i].split("=", 2);
            settings.setString(setting[0], setting[1]);
        }
        TableEnvironment environment = TableEnvironment.create(
            EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        for (String statement : Files.readString(Path.of(arguments[0])).split(";\n")) {
            if (statement.isBlank()) {
                continue;
            }
            TableResult result = environment.executeSql(statement);
            if (result.getJobClient().isPresent()) {
                result.getJobClient().get().getJobExecutionResult().get();
            }
        }
    }
}
