"""The words of the grammar in `sentences.py`, by class: about 1,900 of everyday English."""

PEOPLE = """ actor aunt author baker barber boy brother builder butcher captain carpenter chef child clerk coach cook
cousin customer dancer daughter dentist designer detective director doctor driver editor engineer farmer father
firefighter fisherman gardener girl girlfriend grandfather grandmother guard guest guide hunter husband inventor
janitor journalist judge king knight lawyer leader librarian lifeguard magician mailman manager mayor mechanic
merchant mother musician neighbour nephew niece nurse officer owner painter partner passenger pharmacist photographer
pilot plumber poet policeman postman president priest princess professor queen reporter runner sailor scientist
secretary senator sheriff shepherd singer sister skater soldier stranger student surgeon swimmer tailor teacher
teenager tourist trainer traveller tutor twin uncle visitor waiter waitress widow witness woman worker writer
youngster
""".split()
NAMES = """
Adam Alice Amanda Andrew Anna Arthur Barbara Ben Carla Charles Clara Daniel David Diana Edward Elena Emily Emma Frank
George Grace Hannah Harry Helen Henry Irene Isaac Jack Jacob James Jane Jason Jennifer Julia Karen Kevin Laura Leo
Linda Louis Lucy Marcus Maria Martha Martin Mary Michael Monica Nadia Nancy Nathan Nicole Nina Oliver Olivia Oscar
Patrick Paul Peter Philip Rachel Rebecca Richard Robert Rosa Ruth Samuel Sandra Sarah Simon Sophie Steven Susan Teresa
Thomas Tom Vera Victor Vincent Virginia Walter Wendy William Yusuf Zoe
""".split()
THINGS = """
album anchor apple apron armchair arrow badge bag ball balloon banana bandage banner barrel basket battery bean bed
bell belt bench bicycle blanket boat bone book boot bottle bowl box bracelet branch bread brick bridge broom brush
bucket bulb button cabinet cable cage cake calendar camera candle cane canoe card carpet carrot cart cash castle chain
chair chalk cheese chest chimney clock cloth coat coin collar comb compass computer contract cookie cord costume couch
cradle crate crayon crown cup curtain cushion desk diamond diary dish doll door drawer drawing dress drill drum egg
engine envelope eraser fan feather fence ferry file film flag flashlight flower flute folder fork fountain frame
fridge fruit funnel garage gate gift glass globe glove guitar hammer hammock handle harp hat heater helmet hook horn
hose instrument invitation jacket jar jewel jug kettle key keyboard kite knife knot ladder lamp lantern laptop leaf
lemon lens letter lid light lock log machine magazine magnet map mask mat match mattress meal medal melon menu message
microscope mirror mitten model monitor motor mug mushroom nail napkin necklace needle net newspaper notebook oar onion
orange organ oven package paddle paint painting pan paper parachute parcel passport pattern peach pear pearl pen
pencil pepper phone photo piano picture pie pillow pin pipe pizza plank plate plug pocket poem pole postcard poster
pot potato present printer puppet purse puzzle radio raft rake razor receipt recipe record report ribbon ring robe
rock rocket roof rope rug ruler sack saddle sail salad sandal sandwich saw scarf scissors screen screw sculpture seed
shawl sheet shelf shell shield ship shirt shoe shovel sign skirt sled soap sock sofa soup spade sponge spoon stamp
statue stick stone stool story stove straw suit suitcase sweater sword table tablet tambourine tape teapot telescope
tent thread ticket tie tile toaster tomato tool torch towel toy tractor train tray treasure trophy truck trumpet trunk
tube tyre umbrella uniform van vase vest video violin wagon wallet watch wheel whistle wig window wire wool wrench
zipper
""".split()
ANIMALS = """
ant bat bear bee beetle bird buffalo bull butterfly calf camel cat chicken cow crab crocodile crow deer dog dolphin
donkey dragon duck eagle elephant elk falcon fish fox frog giraffe goat goose gorilla hamster hare hawk hedgehog hen
hippo horse kangaroo kitten lamb leopard lion lizard lobster mole monkey moose mosquito mouse mule octopus otter owl
ox panda parrot peacock pelican penguin pig pigeon pony puppy rabbit raccoon rat raven robin rooster salmon seagull
seal shark sheep skunk snail snake sparrow spider squirrel swan tiger turkey turtle walrus wasp whale wolf zebra
""".split()
ADJECTIVES = """
ancient angry average awkward bitter blank blind bold bored brave brief bright brilliant broken busy calm careful
careless cautious cheap cheerful clean clever clumsy cold colourful comfortable common complete confident cool cosy
crazy crooked cruel curious curly dangerous dark deaf dear deep delicate delicious different dirty dizzy double dry
dull dusty eager early elegant empty enormous equal excellent exotic expensive faint fair faithful false familiar
famous fancy fat fierce final fine firm flat foolish foreign formal fragile free fresh friendly funny furious generous
gentle giant glad golden good graceful grand grateful greasy great greedy guilty handsome handy happy hard harsh
healthy heavy helpful hidden hollow holy honest hopeful horrible hot huge humble hungry ideal idle important innocent
invisible jealous jolly keen kind large late lazy light little lively local lonely long loose loud lovely loyal lucky
mad magic massive mean mighty mild modern modest muddy mysterious narrow nasty naughty neat nervous new nice noble
noisy normal odd old ordinary original pale patient peaceful perfect plain pleasant polite poor popular precious
pretty private proud public pure quick quiet rapid rare raw ready real reliable rich ripe rotten rough round royal
rude rusty sad safe salty scary secret serious shabby shallow sharp shiny short shy sick silent silly simple sleepy
slippery slow small smart smooth soft solid sour special spicy spotless square stale steady steep sticky stiff strange
strict strong stubborn stupid sudden sunny sweet swift tall tame tasty tender terrible thick thin thirsty tidy tight
tiny tired tough traditional tricky true ugly unusual upset urgent useful useless usual vague valuable vast violent
warm weak wealthy weary wet wide wild wise wonderful wooden wrong young
""".split()
COLOURS = """
red green blue yellow orange purple pink brown black white grey silver gold beige turquoise violet
""".split()
# base form, or base:past where irregular; a star doubles the last letter
VERBS_ON_THINGS = """
admire adjust bring:brought borrow break:broke build:built burn bury buy:bought carry catch:caught check choose:chose
clean close collect cover count crush cut:cut damage decorate deliver describe design destroy discover drag* drop*
examine exchange fetch find:found finish fix fold forget:forgot gather give:gave grab* guard hand hang:hung hide:hid
hold:held ignore improve inspect inspire keep:kept kick knock label lend:lent lift load lock lose:lost love lower
make:made mark measure mend mention move need notice offer open order own pack paint pass pick place polish post
prefer* prepare present press produce promise protect pull purchase push put:put raise receive recommend recognise
record remember remove rent repair replace request rescue return ruin save scratch seal search see:saw seize select
sell:sold send:sent share shake:shook show:showed smash smell steal:stole stop* store study take:took taste tear:tore
test throw:threw tie touch trade treasure turn twist unlock unpack use want wash watch wave weigh win:won wipe wrap*
""".split()
VERBS_ALONE = """
arrive begin:began bow breathe celebrate cheer complain cough cry dance dive:dived dream drive:drove escape exercise
fall:fell faint fight:fought float fly:flew gamble giggle glow grow:grew hurry jog* joke jump kneel:knelt land laugh
lie:lay march meditate mumble nod* panic pause pray practise race read:read relax rest ride:rode rise:rose roll row
run:ran sail scream settle shiver shout sigh sing:sang sink:sank sit:sat skate ski sleep:slept slide:slid slip* smile
snore speak:spoke stand:stood stare stumble suffer surrender sweat swim:swam swing:swung talk travel tremble trip*
vanish volunteer wait walk wander whisper whistle work worry yawn yell
""".split()
ADVERBS = """
accidentally again almost always angrily anxiously badly barely bravely briefly calmly carefully carelessly cheerfully
clearly cleverly closely completely constantly daily deliberately eagerly easily eventually exactly finally firmly
frequently gently gladly gracefully gradually happily hardly honestly immediately instantly kindly lately lazily
loudly mostly nearly neatly nervously never normally obviously often openly patiently perfectly politely possibly
privately probably promptly properly proudly quickly quietly rarely really recently repeatedly rudely sadly safely
secretly seldom seriously sharply silently simply slowly smoothly softly sometimes soon suddenly surely swiftly
tightly together truly twice usually warmly wildly wisely
""".split()
PLACES = """
airport apartment arena attic backyard bakery balcony bank barn basement bathroom bay beach bedroom border bookshop
cabin cafe camp campus canal canyon castle cave cellar cemetery chapel church cinema circus city classroom cliff
clinic coast college corner corridor cottage countryside court courtyard cove crossing dam desert dock dormitory
elevator embassy entrance factory fair farm field fireplace forest fortress gallery garden gym hall harbour highway
hill hospital hotel house hut island jungle kitchen laboratory lagoon lake laundry library lighthouse lobby market
meadow mill mine monastery mosque motel mountain museum nursery ocean office orchard palace park pasture path pavement
pharmacy pier plaza playground pond pool port prison pub quarry railway ranch reception restaurant river road ruins
school shed shelter shop shore square stable stadium stage staircase station stream street studio suburb subway
supermarket swamp temple terminal terrace theatre tower town trail tunnel university valley village warehouse
waterfall wharf workshop yard zoo
""".split()
PREPOSITIONS = """
above across against along around at before behind below beneath beside beyond by close_to inside in_front_of near
next_to on_top_of opposite outside over past through towards under
""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
TIMES = """
today tonight yesterday tomorrow this_morning this_afternoon this_evening last_night last_week last_month last_year
at_noon at_midnight at_dawn at_sunset after_lunch before_breakfast during_dinner in_the_morning in_the_afternoon
in_the_evening every_day every_week every_weekend once_a_year in_spring in_summer in_autumn in_winter for_an_hour
for_two_weeks since_childhood all_night all_day the_other_day a_long_time_ago in_the_meantime on_the_way_home
after_the_storm before_the_concert during_the_match until_the_end
""".split()
NUMBERS = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty thirty forty fifty sixty seventy eighty ninety
""".split()
DIGITS = "zero one two three four five six seven eight nine".split()
LETTERS = "a b c d e f g h i j k l m n o p q r s t u v x y z".split()
TOPICS = """
ability accident advantage adventure advice agreement ambition anger argument art attention attitude average balance
beauty behaviour belief biology budget business career challenge chance change chaos chemistry choice climate comfort
communication community competition confidence conflict connection courage creativity crime crisis culture curiosity
danger death debt decision democracy demand desire detail development difference difficulty disaster discipline
discovery disease distance doubt economy education effort election emotion energy environment equality evidence
evolution example exercise existence experience experiment failure faith family fashion fear feeling finance food
freedom friendship future gravity growth habit happiness health history holiday hope humour hunger idea identity
imagination industry inflation information insurance interest internet investment journey joy justice knowledge labour
language law leadership learning leisure liberty logic loss luck luxury mathematics meaning medicine memory method
mind mistake money mood motion movement music mystery nature network noise novel opinion opportunity pain passion
patience peace performance philosophy physics pleasure poetry politics pollution poverty power practice pressure pride
principle privacy problem profit progress proof purpose quality question reality reason relationship religion research
respect responsibility result revenge reward rhythm risk romance rule rumour safety science security shame silence
situation skill society solution space speed sport strategy strength stress structure success surprise talent taste
technology tension theory thought threat trade tradition traffic training transport trouble trust truth value victory
violence vision voice war water wealth weather wisdom wonder
""".split()
MATERIALS = """
brass bronze canvas cardboard clay concrete copper cotton glass gold gravel iron leather linen marble metal paper
plastic rubber sand silk silver steel stone straw velvet wax wood wool
""".split()
FOODS = """
bacon beef biscuits bread broccoli butter cabbage cereal cheese cherries chicken chips chocolate coffee corn cream
cucumber curry flour garlic ginger grapes gravy ham honey jam juice ketchup lemonade lettuce meat milk mustard noodles
nuts oats oil olives pancakes pasta peanuts peas pickles pork porridge pudding pumpkin rice salt sauce sausages shrimp
spinach steak strawberries sugar syrup tea toast tuna vinegar waffles wine yoghurt
""".split()
