import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.binary.api.IBinaryStorageSvc;
import ca.uhn.fhir.jpa.binstore.DatabaseBinaryContentStorageSvcImpl;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.match.deliver.email.IEmailSender;
import ca.uhn.fhir.jpa.subscription.match.config.SubscriptionProcessorConfig;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import jakarta.persistence.EntityManagerFactory;
import java.util.Properties;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.BasicDataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;
import org.springframework.transaction.annotation.EnableTransactionManagement;

/**
 * HAPI's JPA server for R4 with what its starter project sets by default, in a Jetty: Peer JDBC-URL [USER]
 *
 * Prints "ready PORT" when it answers, and ends when its standard input does. Search results are not kept for reuse
 * (the starter hands out ones that are a minute old).
 */
public final class Peer {

    public static void main(String[] arguments) throws Exception {
        System.setProperty("peer.url", arguments[0]);
        System.setProperty("peer.user", arguments.length > 1 ? arguments[1] : "sa");
        var beans = new AnnotationConfigApplicationContext(Beans.class);
        var fhir = new RestfulServer(beans.getBean(FhirContext.class));
        beans.getAutowireCapableBeanFactory().autowireBean(fhir);
        fhir.registerProviders(beans.getBean(ResourceProviderFactory.class).createProviders());
        fhir.registerProvider(beans.getBean(JpaSystemProvider.class));
        fhir.setPagingProvider(beans.getBean(DatabaseBackedPagingProvider.class));
        fhir.setServerConformanceProvider(new JpaCapabilityStatementProvider(
            fhir, beans.getBean(IFhirSystemDao.class), beans.getBean(JpaStorageSettings.class),
            beans.getBean(ISearchParamRegistry.class), beans.getBean(IValidationSupport.class)));
        fhir.setDefaultResponseEncoding(EncodingEnum.JSON);
        var server = new Server();
        var connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        server.addConnector(connector);
        var handler = new ServletContextHandler("/");
        handler.addServlet(new ServletHolder(fhir), "/fhir/*");
        server.setHandler(handler);
        server.start();
        System.out.println("ready " + connector.getLocalPort());
        System.out.flush();
        while (System.in.read() >= 0) { }
        server.stop();
        beans.close();
        System.exit(0);
    }

    @Configuration
    @EnableTransactionManagement
    @Import({
        JpaR4Config.class, HapiJpaConfig.class, JpaBatch2Config.class, Batch2JobsConfig.class,
        ThreadPoolFactoryConfig.class, SubscriptionSubmitterConfig.class, SubscriptionProcessorConfig.class,
        SubscriptionChannelConfig.class})
    public static class Beans {

        @Bean
        DataSource dataSource() {
            var source = new BasicDataSource();
            source.setUrl(System.getProperty("peer.url"));
            source.setUsername(System.getProperty("peer.user"));
            source.setPassword("");
            source.setMaxTotal(20);
            source.setPoolPreparedStatements(true);
            return source;
        }

        @Bean
        LocalContainerEntityManagerFactoryBean entityManagerFactory(
                DataSource source, ConfigurableListableBeanFactory factory, FhirContext context,
                JpaStorageSettings settings) {
            var made = HapiEntityManagerFactoryUtil.newEntityManagerFactory(factory, context, settings);
            made.setPersistenceUnitName("HAPI_PU");
            made.setDataSource(source);
            var properties = new Properties();
            boolean isH2 = System.getProperty("peer.url").startsWith("jdbc:h2");
            properties.put("hibernate.dialect",
                "ca.uhn.fhir.jpa.model.dialect." + (isH2 ? "HapiFhirH2Dialect" : "HapiFhirPostgresDialect"));
            properties.put("hibernate.hbm2ddl.auto", "update");
            properties.put("hibernate.jdbc.batch_size", "20");
            properties.put("hibernate.cache.use_query_cache", "false");
            properties.put("hibernate.cache.use_second_level_cache", "false");
            properties.put("hibernate.search.enabled", "false");
            made.setJpaProperties(properties);
            return made;
        }

        @Bean
        JpaTransactionManager transactionManager(EntityManagerFactory factory) {
            return new JpaTransactionManager(factory);
        }

        @Bean
        JpaStorageSettings storageSettings() {
            var settings = new JpaStorageSettings();
            settings.setReuseCachedSearchResultsForMillis(null);
            settings.setFetchSizeDefaultMaximum(1000);
            settings.setAllowContainsSearches(true);
            return settings;
        }

        @Bean
        PartitionSettings partitionSettings() {
            return new PartitionSettings();
        }

        @Bean
        SubscriptionSettings subscriptionSettings() {
            return new SubscriptionSettings();
        }

        @Bean
        IEmailSender emailSender() {
            return details -> { };
        }

        @Bean
        IBinaryStorageSvc binaryStorage() {
            return new DatabaseBinaryContentStorageSvcImpl();
        }
    }
}
